// A library to preload: the wall clock of a process is CLOCK_AHEAD_S seconds ahead, behind where that is negative.
//
// No other clock and no wait is another. libfaketime 0.9.10 also changes waits until a moment of the monotonic clock,
// even where it is told to leave that clock alone: every time.sleep of Python fails.
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

static long ahead_s = 0;

__attribute__((constructor)) static void read_environment() {
    const char* text = std::getenv("CLOCK_AHEAD_S");
    ahead_s = text ? std::atol(text) : 0;
}

extern "C" int clock_gettime(clockid_t clock, timespec* at) noexcept {
    const int failed = static_cast<int>(syscall(SYS_clock_gettime, clock, at));
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead_s;
    return failed;
}

extern "C" int gettimeofday(timeval* at, void*) noexcept {
    timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

extern "C" int timespec_get(timespec* at, int base) noexcept {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

extern "C" time_t time(time_t* at) noexcept {
    timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
