/* The floor for GPUs: the same NVML calls that a tick of the agent makes, on the same library, and nothing else.
 *
 * usage: nvml_floor LIBRARY PASSES PAUSE_US
 * prints: CPU milliseconds per pass (mean over PASSES, the first left out), calls per pass
 * Every twelfth pass also asks for what rarely changes, as the agent does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nvml_standin.h"

#define SLOW_EVERY 12
#define LIST_ROOM 128

typedef unsigned (*function)();

struct device {
    void *handle, *migs[PLACES];
    unsigned is_mig, mig_count, instances[PLACES];
    struct gpm_sample *before[PLACES];
    uint64_t stamp;
};

static void *library;
static unsigned long calls;

static function find(const char *name)
{
    function found = (function)dlsym(library, name);
    if (!found) {
        fprintf(stderr, "nvml_floor: %s is not in the library\n", name);
        exit(1);
    }
    return found;
}

/* Each call site looks its function up once. */
#define CALL(name, ...)                                                                                                \
    ({                                                                                                                 \
        static function call_;                                                                                         \
        if (!call_)                                                                                                    \
            call_ = find(#name);                                                                                       \
        calls++;                                                                                                       \
        call_(__VA_ARGS__);                                                                                            \
    })

#define LIST(name, handle)                                                                                             \
    do {                                                                                                               \
        static struct process_record records[LIST_ROOM];                                                               \
        unsigned found_ = 0;                                                                                           \
        if (CALL(name, handle, &found_, NULL) == TOO_SMALL) {                                                          \
            found_ = LIST_ROOM;                                                                                        \
            CALL(name, handle, &found_, records);                                                                      \
        }                                                                                                              \
    } while (0)

static void look_at_partitions(struct device *device)
{
    unsigned places = 0;
    CALL(nvmlDeviceGetMaxMigDeviceCount, device->handle, &places);
    device->mig_count = 0;
    for (unsigned place = 0; place < places; place++) {
        void *mig;
        char text[TEXT];
        unsigned compute;
        struct attributes_record attributes;
        if (CALL(nvmlDeviceGetMigDeviceHandleByIndex, device->handle, place, &mig))
            continue;
        CALL(nvmlDeviceGetGpuInstanceId, mig, &device->instances[device->mig_count]);
        CALL(nvmlDeviceGetComputeInstanceId, mig, &compute);
        CALL(nvmlDeviceGetAttributes_v2, mig, &attributes);
        CALL(nvmlDeviceGetName, mig, text, (unsigned)sizeof text);
        CALL(nvmlDeviceGetUUID, mig, text, (unsigned)sizeof text);
        device->migs[device->mig_count++] = mig;
    }
}

static void read_partitions(struct device *device)
{
    struct support_record support = {1, 0};
    CALL(nvmlGpmQueryDeviceSupport, device->handle, &support);
    for (unsigned i = 0; support.is_supported && i < device->mig_count; i++) {
        struct gpm_sample *now = NULL;
        CALL(nvmlGpmSampleAlloc, &now);
        CALL(nvmlGpmMigSampleGet, device->handle, device->instances[i], now);
        if (device->before[i]) {
            static union { struct metrics_record query; char room[32768]; } asked;
            asked.query.version = asked.query.count = 1;
            asked.query.before = device->before[i];
            asked.query.after = now;
            asked.query.metrics[0].number = 2;
            CALL(nvmlGpmMetricsGet, &asked.query);
            CALL(nvmlGpmSampleFree, device->before[i]);
        }
        device->before[i] = now;
    }
}

static void read_device(struct device *device, unsigned pass)
{
    void *handle = device->handle;
    uint64_t energy;
    unsigned number, pending;
    struct field_record field = {.number = 185, .scope = 0};
    struct use_record use;
    struct memory_record memory;
    if (pass % SLOW_EVERY == 0) {
        if (CALL(nvmlDeviceGetMigMode, handle, &device->is_mig, &pending))
            device->is_mig = 0;
        if (device->is_mig)
            look_at_partitions(device);
        CALL(nvmlDeviceGetEnforcedPowerLimit, handle, &number);
        LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, handle);
    }
    CALL(nvmlDeviceGetTotalEnergyConsumption, handle, &energy);
    CALL(nvmlDeviceGetFieldValues, handle, 1, &field);
    CALL(nvmlDeviceGetPowerUsage, handle, &number);
    if (!device->is_mig)
        CALL(nvmlDeviceGetUtilizationRates, handle, &use);
    CALL(nvmlDeviceGetMemoryInfo, handle, &memory);
    LIST(nvmlDeviceGetComputeRunningProcesses_v3, handle);
    LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, handle);
    if (!device->is_mig) {
        static struct sample_record records[LIST_ROOM];
        unsigned found = LIST_ROOM;
        if (CALL(nvmlDeviceGetProcessUtilization, handle, records, &found, device->stamp) == SUCCESS)
            for (unsigned i = 0; i < found; i++)
                if (records[i].stamp > device->stamp)
                    device->stamp = records[i].stamp;
    }
    CALL(nvmlDeviceGetTemperature, handle, 0u, &number);
    if (device->is_mig)
        read_partitions(device);
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    library = dlopen(words[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "nvml_floor: %s\n", dlerror());
        return 1;
    }
    unsigned passes = (unsigned)atoi(words[2]), pause_us = (unsigned)atoi(words[3]), gpus = 0;
    if (CALL(nvmlInitWithFlags, 1u) || CALL(nvmlDeviceGetCount_v2, &gpus)) {
        fprintf(stderr, "nvml_floor: the library does not open\n");
        return 1;
    }
    struct device *devices = calloc(gpus + 1, sizeof *devices);
    for (unsigned i = 0; i < gpus; i++)
        CALL(nvmlDeviceGetHandleByIndex_v2, i, &devices[i].handle);
    double spent_ms = 0;
    for (unsigned pass = 0; pass <= passes; pass++) {
        if (pass == 1)
            calls = 0;
        usleep(pause_us);
        double started_ms = cpu_ms();
        for (unsigned i = 0; i < gpus; i++)
            read_device(&devices[i], pass);
        if (pass)
            spent_ms += cpu_ms() - started_ms;
    }
    printf("%.6f %.3f\n", spent_ms / passes, (double)calls / passes);
    return 0;
}
