"""What a tick and a scrape cost, measured on this machine beside a floor in C: ``python -m bench``."""
