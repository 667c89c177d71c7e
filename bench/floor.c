/* The floor of the benchmark: opens, reads and closes every PID's stat below a proc root and every file with a given
 * name below a cgroup root, once per pass, and prints the CPU seconds of each pass. Directories are listed once.
 *
 * usage: floor PROC_ROOT CGROUP_ROOT FILE_NAME PASSES
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char **paths;
static size_t count, capacity;

static void add(const char *directory, const char *name, const char *file)
{
    if (count == capacity) {
        capacity = capacity ? 2 * capacity : 1024;
        paths = realloc(paths, capacity * sizeof *paths);
        if (!paths)
            exit(3);
    }
    if (asprintf(&paths[count++], "%s/%s%s%s", directory, name, *name ? "/" : "", file) < 0)
        exit(3);
}

static void add_processes(const char *root)
{
    DIR *directory = opendir(root);
    struct dirent *entry;

    while (directory && (entry = readdir(directory)))
        if (isdigit((unsigned char)entry->d_name[0]))
            add(root, entry->d_name, "stat");
    if (directory)
        closedir(directory);
}

static void add_cgroups(const char *root, const char *file)
{
    DIR *directory = opendir(root);
    struct dirent *entry;
    char *child;

    if (!directory)
        return;
    add(root, "", file);
    while ((entry = readdir(directory))) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        if (asprintf(&child, "%s/%s", root, entry->d_name) < 0)
            exit(3);
        add_cgroups(child, file);
        free(child);
    }
    closedir(directory);
}

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    char buffer[4096];
    size_t processes;

    if (argc != 5) {
        fprintf(stderr, "usage: %s PROC_ROOT CGROUP_ROOT FILE_NAME PASSES\n", argv[0]);
        return 2;
    }
    add_processes(argv[1]);
    processes = count;
    add_cgroups(argv[2], argv[3]);
    printf("%zu %zu\n", processes, count - processes);
    for (int pass = 0; pass < atoi(argv[4]); pass++) {
        double before = cpu_seconds();

        for (size_t i = 0; i < count; i++) {
            int descriptor = open(paths[i], O_RDONLY | O_CLOEXEC);

            if (descriptor < 0)
                continue; /* gone since the listing */
            while (read(descriptor, buffer, sizeof buffer) > 0)
                ;
            close(descriptor);
        }
        printf("%.6f\n", cpu_seconds() - before);
    }
    return 0;
}
