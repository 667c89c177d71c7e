/* The state of the NVML stand-in, which nvml_state.py declares again, and the records of NVML's binding interface. */
#include <stdint.h>

#define GPUS 16
#define PROCESSES 96
#define SAMPLES 72
#define PLACES 8
#define INSTANCES 16
#define FIELDS 16
#define FAULTS 64
#define COUNTED 64
#define VIEWS 128
#define TEXT 96

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    TOO_SMALL = 7, NOT_LOADED = 9, LOST = 15, NO_DATA = 21, UNKNOWN = 999
};
enum { COMPUTE = 1, GRAPHICS = 2, MPS = 4 };

/* The state; nvml_state.py declares the same. Members are ordered so that there is no padding. */
struct process { uint64_t memory; uint32_t pid, kinds, gpu_instance, compute_instance; };
struct sample { uint64_t stamp; uint32_t pid, sm; };
struct field { uint32_t number, scope, code, mw; };
struct mig {
    double busy_s; /* of its GPU instance, since the beginning */
    uint32_t present, gpu_instance, compute_instance, slices;
    char uuid[TEXT], name[TEXT];
};
struct gpu {
    uint64_t energy_mj, memory_used, memory_total, virtualization;
    uint32_t power_mw, limit_mw, percent, celsius, minor, mig_mode, mig_places, mig_access, gpm, lost;
    uint32_t process_count, sample_count, field_count, padding;
    char uuid[TEXT], name[TEXT], bus[TEXT];
    struct process processes[PROCESSES];
    struct sample samples[SAMPLES];
    struct mig migs[PLACES];
    struct field fields[FIELDS];
};
struct fault { char call[TEXT]; int32_t slot; uint32_t code, remaining, hangs; }; /* remaining 0: until it is removed */
struct counted { char call[TEXT]; uint32_t used, count; };
struct view { uint32_t pid, seen_as; };
struct state {
    uint64_t size, now_us;
    uint32_t sequence, lock, gpu_count, fault_count, view_count, lists_are_translated, samples_are_translated;
    uint32_t empty_code;
    uint32_t order[GPUS];
    struct fault faults[FAULTS];
    struct counted counted[COUNTED];
    struct view views[VIEWS];
    struct gpu gpus[GPUS];
};

/* NVML's records */
struct process_record { uint32_t pid; uint64_t memory; uint32_t gpu_instance, compute_instance; };
struct sample_record { uint32_t pid; uint64_t stamp; uint32_t sm, memory, encoder, decoder; };
struct memory_record { uint64_t total, free, used; };
struct use_record { uint32_t gpu, memory; };
struct pci_record { char legacy[16]; uint32_t domain, bus, device, id, subsystem; char bus_id[32]; };
struct field_record {
    uint32_t number, scope;
    int64_t stamp, latency_us;
    uint32_t type, code;
    union { double d; uint32_t u; uint64_t ull; } value;
};
struct attributes_record { uint32_t multiprocessors, engines[5], gpu_slices, compute_slices; uint64_t memory_mb; };
struct support_record { uint32_t version, is_supported; };
struct metric_record { uint32_t number, code; double value; char *names[3]; };
struct gpm_sample { uint64_t now_us; double busy_s; };
struct metrics_record { uint32_t version, count; struct gpm_sample *before, *after; struct metric_record metrics[]; };

/* A handle holds slot and place (0: the GPU itself) where NVML has a pointer; it is never followed. */
static inline void *handle_of(unsigned slot, unsigned place) { return (void *)(uintptr_t)(0x10000u + slot * 16 + place); }
static inline unsigned slot_of(const void *handle) { return (unsigned)(((uintptr_t)handle - 0x10000u) / 16); }
static inline unsigned place_of(const void *handle) { return (unsigned)((uintptr_t)handle % 16); }
