"""The style sheet of the page at ``/``. Colours mean one thing each, in light and in dark."""

__all__ = ["STYLE"]

STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--fg:#1a1d21;--dim:#5b6470;--line:#dfe3e8;--link:#0b5cad;
--cpu:#2f6fd0;--dram:#8a5cd0;--gpu:#2a9163;--other:#b7791f;--att:#2f6fd0;--un:#a3acb8;
--good:#1d7a46;--warn:#8f5a00;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1d2126;--fg:#e8eaed;--dim:#9da7b3;--line:#333a42;
--link:#79b8ff;--cpu:#6ea0f2;--dram:#b394ec;--gpu:#55c292;--other:#e0ab52;--att:#6ea0f2;--un:#66707c;
--good:#5fd08f;--warn:#e8b04b;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,"DejaVu Sans",sans-serif}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;justify-content:space-between}
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:0 0 .5rem}p{margin:.25rem 0}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:1rem 0}
.figure{font-size:2rem;font-weight:600;line-height:1.2;font-variant-numeric:tabular-nums}
.dim,.empty{color:var(--dim)}a{color:var(--link)}
.bar{display:block;width:100%;height:1rem;border-radius:.25rem;margin-top:.75rem}
ul{list-style:none;margin:.25rem 0;padding:0;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem}
.legend{font-size:.87rem;color:var(--dim)}
.key{display:inline-block;width:.75rem;height:.75rem;border-radius:.15rem;margin-right:.4rem}
.c-cpu{fill:var(--cpu);background:var(--cpu)}.c-dram{fill:var(--dram);background:var(--dram)}
.c-gpu{fill:var(--gpu);background:var(--gpu)}.c-other{fill:var(--other);background:var(--other)}
.c-attributed{fill:var(--att);background:var(--att)}.c-unattributed{fill:var(--un);background:var(--un)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;margin-top:.5rem}
th,td{text-align:left;padding:.4rem .75rem .4rem 0;border-top:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere;min-width:6.5rem}
th{color:var(--dim);font-weight:500;font-size:.87rem;border-top:0;white-space:nowrap}
.name{white-space:nowrap}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.badge{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:0 .5rem;font-size:.8rem;
color:var(--dim);white-space:nowrap}
.good,.measured{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.estimated{color:var(--warn);border-style:dashed}
pre{background:var(--bg);border:1px solid var(--line);border-radius:.25rem;padding:.5rem .75rem;overflow-x:auto}
footer{display:flex;flex-wrap:wrap;gap:.25rem 1rem;justify-content:space-between}
"""
"""Complete; the page loads nothing else."""
