/* What Debian's archives ask of its C library and older ones lack. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 2.32: false means that there may be several threads, which is never wrong. */
char __libc_single_threaded = 0;

/* 2.28: the same call where offsets have 64 bits. */
int fcntl64(int file, int command, ...) {
  va_list arguments;
  void* argument;
  va_start(arguments, command);
  argument = va_arg(arguments, void*);
  va_end(arguments);
  return fcntl(file, command, argument);
}

/* 2.35: which object an address lies in and where the unwinder finds its tables; 0 where there is
   one. */
struct wanted_object {
  uintptr_t address;
  struct dl_find_object* found;
};

static int look_into(struct dl_phdr_info* object, size_t size, void* data) {
  struct wanted_object* wanted = data;
  const ElfW(Phdr)* tables = NULL;
  int i, within = 0;
  (void)size;
  for (i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)* segment = &object->dlpi_phdr[i];
    const uintptr_t start = object->dlpi_addr + segment->p_vaddr;
    if (segment->p_type == PT_GNU_EH_FRAME) tables = segment;
    if (segment->p_type != PT_LOAD || wanted->address < start ||
        wanted->address - start >= segment->p_memsz)
      continue;
    within = 1;
    wanted->found->dlfo_map_start = (void*)start;
    wanted->found->dlfo_map_end = (void*)(start + segment->p_memsz);
  }
  if (!within || tables == NULL) return 0;
  wanted->found->dlfo_eh_frame = (void*)(object->dlpi_addr + tables->p_vaddr);
  return 1;
}

int _dl_find_object(void* address, struct dl_find_object* found) {
  struct wanted_object wanted = {(uintptr_t)address, found};
  found->dlfo_flags = 0;
  found->dlfo_link_map = NULL;
  return dl_iterate_phdr(look_into, &wanted) ? 0 : -1;
}

/* 2.36 */
uint32_t arc4random(void) {
  uint32_t value;
  while (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
    if (errno != EINTR) abort();
  return value;
}

/* 2.38: numbers in base 2 may begin with 0b, which nobody asks for here. */
long __isoc23_strtol(const char* text, char** end, int base) { return strtol(text, end, base); }

/* 2.30 */
pid_t gettid(void) { return (pid_t)syscall(SYS_gettid); }

/* 2.30: waits until a moment of another clock than the condition's own, which is CLOCK_REALTIME. A
   jump of that one lengthens or shortens this wait alone: who waits looks at its clock again. */
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const struct timespec* until) {
  const int64_t second = 1000000000;
  struct timespec now, real;
  int64_t left;
  if (clock_gettime(clock, &now) != 0 || clock_gettime(CLOCK_REALTIME, &real) != 0) return EINVAL;
  left = (until->tv_sec - now.tv_sec) * second + (until->tv_nsec - now.tv_nsec);
  if (left < 0) left = 0;
  left += real.tv_nsec;
  real.tv_sec += (time_t)(left / second);
  real.tv_nsec = (long)(left % second);
  return pthread_cond_timedwait(condition, mutex, &real);
}
