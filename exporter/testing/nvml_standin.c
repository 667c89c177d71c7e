/* A stand-in for libnvidia-ml.so.1: answers NVML calls from a state that a test writes (see nvml_state.py).
 *
 * It exports the functions that this agent calls, under the versioned names that NVIDIA's Python binding looks up, and
 * lays out records as that binding does. The state is a file named by WATTRIBUTE_NVML_STATE and mapped at
 * nvmlInitWithFlags; without it there is "no driver". Written for these tests; no part of it is NVIDIA's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nvml_standin.h"

static struct state *state;
static int opened;

static void count(const char *call)
{
    while (__sync_lock_test_and_set(&state->lock, 1))
        usleep(50);
    for (unsigned i = 0; i < COUNTED; i++) {
        struct counted *one = &state->counted[i];
        if (!one->used) {
            one->used = 1;
            snprintf(one->call, TEXT, "%s", call);
        }
        if (strcmp(one->call, call) == 0) {
            one->count++;
            break;
        }
    }
    __sync_lock_release(&state->lock);
}

/* Whether a fault named "nvmlX" or "*" is for the function "nvmlX" or "nvmlX_v3". */
static int is_for(const char *name, const char *call)
{
    size_t length = strlen(name);
    return strcmp(name, "*") == 0 || (strncmp(name, call, length) == 0 && (!call[length] || call[length] == '_'));
}

static unsigned failure(const char *call, int slot)
{
    for (unsigned i = 0; i < FAULTS; i++) {
        volatile struct fault *fault = &state->faults[i];
        if (!fault->call[0] || !is_for((const char *)fault->call, call) || (fault->slot >= 0 && fault->slot != slot))
            continue;
        while (fault->hangs && fault->call[0])
            usleep(1000);
        if (!fault->call[0] || !fault->code)
            continue;
        unsigned code = fault->code;
        if (fault->remaining && --fault->remaining == 0)
            fault->call[0] = 0;
        return code;
    }
    return SUCCESS;
}

/* Copy `size` bytes that the test writes under the sequence lock; gives up on a writer that died. */
static void copy(void *into, const void *from, size_t size)
{
    for (unsigned tries = 0; tries < 2000; tries++) {
        uint32_t before = __atomic_load_n(&state->sequence, __ATOMIC_ACQUIRE);
        memcpy(into, from, size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && before == __atomic_load_n(&state->sequence, __ATOMIC_RELAXED))
            return;
        usleep(100);
    }
}

/* Begin a call: count it, fail or hang as the test wants, and copy the GPU's state. */
static unsigned enter(const char *call, const void *handle, struct gpu *gpu)
{
    if (!opened)
        return UNINITIALIZED;
    count(call);
    unsigned slot = slot_of(handle);
    if (slot >= GPUS)
        return INVALID;
    unsigned code = failure(call, (int)slot);
    if (code)
        return code;
    copy(gpu, &state->gpus[slot], sizeof *gpu);
    if (!gpu->uuid[0])
        return INVALID;
    if (gpu->lost)
        return LOST;
    unsigned place = place_of(handle);
    if (place && (!gpu->mig_mode || place > PLACES || !gpu->migs[place - 1].present))
        return INVALID;
    return SUCCESS;
}

#define BEGIN                                                                                                          \
    if (!opened)                                                                                                       \
        return UNINITIALIZED;                                                                                          \
    count(__func__)
#define ENTER(handle)                                                                                                  \
    struct gpu gpu;                                                                                                    \
    unsigned entered = enter(__func__, handle, &gpu);                                                                  \
    if (entered)                                                                                                       \
        return entered
#define ENTER_WHOLE(handle)                                                                                            \
    ENTER(handle);                                                                                                     \
    if (place_of(handle))                                                                                              \
        return NOT_SUPPORTED

unsigned nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    const char *path = getenv("WATTRIBUTE_NVML_STATE");
    if (!path)
        return NOT_LOADED;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return NOT_LOADED;
    struct state *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED || mapped->size != sizeof *mapped)
        return UNKNOWN;
    static char opened_path[4096];
    if (strcmp(opened_path, path) != 0)
        opened = 0; /* another machine */
    snprintf(opened_path, sizeof opened_path, "%s", path);
    state = mapped; /* the one before stays mapped: a call may hang in it */
    count(__func__);
    unsigned code = failure(__func__, -1);
    if (!code)
        opened++;
    return code;
}

unsigned nvmlShutdown(void)
{
    BEGIN;
    unsigned code = failure(__func__, -1);
    if (!code)
        opened--;
    return code;
}

const char *nvmlErrorString(unsigned code)
{
    return code ? "an error of the stand-in" : "Success";
}

unsigned nvmlDeviceGetCount_v2(unsigned *found)
{
    BEGIN;
    *found = state->gpu_count;
    return failure(__func__, -1);
}

unsigned nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    if (!opened)
        return UNINITIALIZED;
    if (index >= state->gpu_count)
        return INVALID;
    *handle = handle_of(state->order[index], 0);
    ENTER(*handle);
    return SUCCESS;
}

#define TEXT_OF(function, member)                                                                                      \
    unsigned function(void *handle, char *text, unsigned size)                                                         \
    {                                                                                                                  \
        ENTER(handle);                                                                                                 \
        snprintf(text, size, "%s", place_of(handle) ? gpu.migs[place_of(handle) - 1].member : gpu.member);             \
        return SUCCESS;                                                                                                \
    }
TEXT_OF(nvmlDeviceGetUUID, uuid)
TEXT_OF(nvmlDeviceGetName, name)

unsigned nvmlDeviceGetPciInfo_v3(void *handle, struct pci_record *pci)
{
    ENTER_WHOLE(handle);
    memset(pci, 0, sizeof *pci);
    sscanf(gpu.bus, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    return SUCCESS;
}

#define NUMBER(name, type, member)                                                                                     \
    unsigned name(void *handle, type *number)                                                                          \
    {                                                                                                                  \
        ENTER_WHOLE(handle);                                                                                           \
        *number = gpu.member;                                                                                          \
        return SUCCESS;                                                                                                \
    }
NUMBER(nvmlDeviceGetMinorNumber, uint32_t, minor)
NUMBER(nvmlDeviceGetVirtualizationMode, uint64_t, virtualization)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, uint64_t, energy_mj)
NUMBER(nvmlDeviceGetPowerUsage, uint32_t, power_mw)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, uint32_t, limit_mw)
NUMBER(nvmlDeviceGetMaxMigDeviceCount, uint32_t, mig_places)

unsigned nvmlDeviceGetFieldValues(void *handle, int wanted, struct field_record *values)
{
    ENTER_WHOLE(handle);
    unsigned served = 0;
    for (int i = 0; i < wanted; i++) {
        values[i].code = NOT_SUPPORTED;
        for (unsigned k = 0; k < gpu.field_count; k++) {
            if (gpu.fields[k].number != values[i].number || gpu.fields[k].scope != values[i].scope)
                continue;
            values[i].code = gpu.fields[k].code;
            values[i].type = 1; /* unsigned int */
            values[i].value.ull = 0;
            values[i].value.u = gpu.fields[k].mw;
            values[i].stamp = (int64_t)state->now_us;
            served += values[i].code == SUCCESS;
        }
    }
    return served ? SUCCESS : NOT_SUPPORTED;
}

unsigned nvmlDeviceGetUtilizationRates(void *handle, struct use_record *use)
{
    ENTER_WHOLE(handle);
    if (gpu.mig_mode)
        return NOT_SUPPORTED;
    *use = (struct use_record){gpu.percent, 0};
    return SUCCESS;
}

unsigned nvmlDeviceGetMemoryInfo(void *handle, struct memory_record *memory)
{
    ENTER(handle);
    *memory = (struct memory_record){gpu.memory_total, gpu.memory_total - gpu.memory_used, gpu.memory_used};
    return SUCCESS;
}

unsigned nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *celsius)
{
    ENTER_WHOLE(handle);
    *celsius = gpu.celsius;
    return sensor ? INVALID : SUCCESS;
}

/* A pid as the caller's PID namespace shows it; 0: not there. */
static uint32_t seen_as(uint32_t pid)
{
    for (unsigned i = 0; i < state->view_count && i < VIEWS; i++)
        if (state->views[i].pid == pid)
            return state->views[i].seen_as;
    return 0;
}

static unsigned list(const struct gpu *gpu, const void *handle, uint32_t kind, unsigned *slots,
                     struct process_record *records)
{
    unsigned place = place_of(handle), found = 0, room = records ? *slots : 0;
    if (gpu->mig_mode && gpu->mig_access > (place ? 1u : 0u))
        return NO_PERMISSION;
    for (unsigned i = 0; i < gpu->process_count && i < PROCESSES; i++) {
        const struct process *one = &gpu->processes[i];
        uint32_t pid = state->lists_are_translated ? seen_as(one->pid) : one->pid;
        if (!(one->kinds & kind) || (state->lists_are_translated && !pid))
            continue;
        if (place && (gpu->migs[place - 1].gpu_instance != one->gpu_instance ||
                      gpu->migs[place - 1].compute_instance != one->compute_instance))
            continue;
        if (found < room)
            records[found] = (struct process_record){pid, one->memory, one->gpu_instance, one->compute_instance};
        found++;
    }
    *slots = found;
    return found > room ? TOO_SMALL : SUCCESS;
}

#define LIST(name, kind)                                                                                               \
    unsigned name(void *handle, unsigned *slots, struct process_record *records)                                       \
    {                                                                                                                  \
        ENTER(handle);                                                                                                 \
        return list(&gpu, handle, kind, slots, records);                                                               \
    }
LIST(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS)

/* Only looked up: they tell which layout the newest lists have. */
unsigned nvmlDeviceGetConfComputeMemSizeInfo(void) { return NOT_SUPPORTED; }
unsigned nvmlDeviceGetRunningProcessDetailList(void) { return NOT_SUPPORTED; }

unsigned nvmlDeviceGetProcessUtilization(void *handle, struct sample_record *records, unsigned *slots, uint64_t last)
{
    ENTER_WHOLE(handle);
    if (gpu.mig_mode)
        return NOT_SUPPORTED;
    unsigned found = 0, room = records ? *slots : 0;
    for (unsigned i = 0; i < gpu.sample_count && i < SAMPLES; i++) {
        const struct sample *one = &gpu.samples[i];
        if (one->stamp <= last)
            continue;
        uint32_t seen = state->samples_are_translated ? seen_as(one->pid) : 0;
        if (found < room)
            records[found] = (struct sample_record){seen ? seen : one->pid, one->stamp, one->sm, 0, 0, 0};
        found++;
    }
    *slots = found;
    if (!found)
        return state->empty_code;
    return found > room ? TOO_SMALL : SUCCESS;
}

unsigned nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending)
{
    ENTER_WHOLE(handle);
    if (!gpu.mig_places)
        return NOT_SUPPORTED;
    *current = *pending = gpu.mig_mode;
    return SUCCESS;
}

unsigned nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **mig)
{
    ENTER_WHOLE(handle);
    if (!gpu.mig_mode || index >= PLACES || !gpu.migs[index].present)
        return NOT_FOUND;
    *mig = handle_of(slot_of(handle), index + 1);
    return gpu.mig_access > 1 ? NO_PERMISSION : SUCCESS;
}

#define ID_OF(function, member)                                                                                        \
    unsigned function(void *handle, unsigned *id)                                                                      \
    {                                                                                                                  \
        ENTER(handle);                                                                                                 \
        if (!place_of(handle))                                                                                         \
            return INVALID;                                                                                            \
        *id = gpu.migs[place_of(handle) - 1].member;                                                                   \
        return SUCCESS;                                                                                                \
    }
ID_OF(nvmlDeviceGetGpuInstanceId, gpu_instance)
ID_OF(nvmlDeviceGetComputeInstanceId, compute_instance)

unsigned nvmlDeviceGetAttributes_v2(void *handle, struct attributes_record *attributes)
{
    ENTER(handle);
    if (!place_of(handle))
        return NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = attributes->compute_slices = gpu.migs[place_of(handle) - 1].slices;
    return SUCCESS;
}

unsigned nvmlGpmQueryDeviceSupport(void *handle, struct support_record *support)
{
    ENTER_WHOLE(handle);
    support->is_supported = gpu.gpm;
    return SUCCESS;
}

unsigned nvmlGpmSampleAlloc(struct gpm_sample **sample)
{
    BEGIN;
    *sample = calloc(1, sizeof **sample);
    return SUCCESS;
}

unsigned nvmlGpmSampleFree(struct gpm_sample *sample)
{
    BEGIN;
    free(sample);
    return failure(__func__, -1);
}

unsigned nvmlGpmMigSampleGet(void *handle, unsigned gpu_instance, struct gpm_sample *sample)
{
    ENTER_WHOLE(handle);
    if (!gpu.gpm)
        return NOT_SUPPORTED;
    for (unsigned i = 0; i < PLACES; i++)
        if (gpu.migs[i].present && gpu.migs[i].gpu_instance == gpu_instance) {
            *sample = (struct gpm_sample){state->now_us, gpu.migs[i].busy_s};
            return SUCCESS;
        }
    return NOT_FOUND;
}

unsigned nvmlGpmMetricsGet(struct metrics_record *query)
{
    BEGIN;
    double seconds = (double)(query->after->now_us - query->before->now_us) / 1e6;
    for (unsigned i = 0; i < query->count; i++) {
        struct metric_record *metric = &query->metrics[i];
        metric->code = metric->number != 2 ? NOT_SUPPORTED : seconds <= 0 ? NO_DATA : SUCCESS;
        metric->value = metric->code ? 0 : 100 * (query->after->busy_s - query->before->busy_s) / seconds;
    }
    return failure(__func__, -1);
}
