/* Forks processes that sleep, spread over control groups, until standard input is closed.
 *
 * usage: sleepers COUNT PROCS_FILE...
 * Child number i joins the i-th group, round robin, by writing to its cgroup.procs (or tasks) file; without files all
 * stay where they are. Prints "ready" when all have joined. A line "busy N" on standard input lets the first child of
 * the first N groups burn one millisecond of CPU in every fifty until told otherwise; "churn N" forks N children of
 * those groups that exit at once. Each command is answered by "done".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t busy;

static void make_busy(int number)
{
    busy = number == SIGUSR1;
}

static void join_group(const char *file)
{
    int descriptor = open(file, O_WRONLY | O_CLOEXEC);

    if (descriptor < 0 || write(descriptor, "0", 1) != 1) {
        perror(file);
        _exit(1);
    }
    close(descriptor);
}

static void burn(long nanoseconds)
{
    struct timespec start, now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < nanoseconds);
}

/* Switching signals stay blocked except in the two waits, so that none is missed. */
static void live(void)
{
    const struct timespec pause_time = {0, 50000000};
    sigset_t none;

    sigemptyset(&none);
    for (;;) {
        if (busy) {
            burn(1000000);
            ppoll(NULL, 0, &pause_time, &none);
        } else {
            sigsuspend(&none);
        }
    }
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0, groups = argc - 2;
    pid_t *children = calloc(count > 0 ? count : 1, sizeof *children);
    int ready[2];
    char line[64], byte = 0;
    sigset_t switches;

    if (argc < 2 || count < 1 || !children || pipe(ready)) {
        fprintf(stderr, "usage: %s COUNT PROCS_FILE...\n", argv[0]);
        return 2;
    }
    signal(SIGUSR1, make_busy);
    signal(SIGUSR2, make_busy);
    sigemptyset(&switches);
    sigaddset(&switches, SIGUSR1);
    sigaddset(&switches, SIGUSR2);
    sigprocmask(SIG_BLOCK, &switches, NULL);
    for (int i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (groups > 0)
                join_group(argv[2 + i % groups]);
            if (write(ready[1], &byte, 1) != 1)
                _exit(1);
            live();
        }
        if (children[i] < 0) {
            perror("fork");
            return 1;
        }
        if (read(ready[0], &byte, 1) != 1)
            return 1;
    }
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        int number = 0;

        if (sscanf(line, "busy %d", &number) == 1)
            for (int i = 0; i < count && i < (groups > 0 ? groups : count); i++)
                kill(children[i], i < number ? SIGUSR1 : SIGUSR2);
        else if (sscanf(line, "churn %d", &number) == 1)
            for (int i = 0; i < number; i++) {
                pid_t child = fork();

                if (child == 0) {
                    if (groups > 0)
                        join_group(argv[2 + i % groups]);
                    burn(1000000);
                    _exit(0);
                }
                waitpid(child, NULL, 0);
            }
        puts("done");
        fflush(stdout);
    }
    for (int i = 0; i < count; i++)
        kill(children[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}
