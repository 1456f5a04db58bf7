/* The time as a test shows it: Redis asks only here. CLOCK_FILE holds milliseconds since the Unix epoch. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static const volatile long long *shown;
    (void)zone;
    if (!shown) {
        int file = open(getenv("CLOCK_FILE"), O_RDONLY);
        void *page = mmap(0, sizeof *shown, PROT_READ, MAP_SHARED, file, 0);
        if (file < 0 || page == MAP_FAILED) abort();
        shown = page;
    }
    long long at = *shown;
    now->tv_sec = at / 1000;
    now->tv_usec = at % 1000 * 1000;
    return 0;
}
