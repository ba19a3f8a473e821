/*
 * For LD_PRELOAD: makes calls of native_core.node to the C library, to libuv and to Node fail, and no other calls. When
 * the binary is loaded, this library puts its own functions into the binary's table of imported functions.
 *
 * INJECT=SYMBOL:CODE:FIRST:COUNT makes calls FIRST … FIRST + COUNT - 1 of SYMBOL fail with CODE: a positive errno, an
 * EAI_… or a napi_status. The variable is read at each call, and calls are counted only while it is set.
 *
 * INJECT_LOG=PATH: at its end the process writes a line "SYMBOL CALLS FAILED" there for each symbol that was called.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

/* How a function reports an error. */
enum manner {
  MINUS_ONE, /* −1, and errno */
  ZERO,      /* 0 or a null pointer, and errno */
  MINUS,     /* −errno */
  CODE,      /* the code itself */
};

#define MADE_THEN_FAILED true

#define SYMBOLS(X)                                   \
  X(accept4, MINUS_ONE, false)                       \
  X(bind, MINUS_ONE, false)                          \
  /* If these fail, they have still taken effect. */ \
  X(close, MINUS_ONE, MADE_THEN_FAILED)              \
  X(connect, MINUS_ONE, false)                       \
  X(epoll_create1, MINUS_ONE, false)                 \
  X(epoll_ctl, MINUS_ONE, false)                     \
  X(epoll_wait, MINUS_ONE, false)                    \
  X(eventfd, MINUS_ONE, false)                       \
  X(fcntl, MINUS_ONE, false)                         \
  X(fcntl64, MINUS_ONE, false)                       \
  X(getaddrinfo, CODE, false)                        \
  X(getnameinfo, CODE, false)                        \
  X(getpeername, MINUS_ONE, false)                   \
  X(getsockname, MINUS_ONE, false)                   \
  X(getsockopt, MINUS_ONE, false)                    \
  X(if_indextoname, ZERO, false)                     \
  X(if_nametoindex, ZERO, false)                     \
  X(ioctl, MINUS_ONE, false)                         \
  X(listen, MINUS_ONE, false)                        \
  X(napi_add_env_cleanup_hook, CODE, false)          \
  X(napi_async_init, CODE, false)                    \
  X(napi_create_reference, CODE, false)              \
  X(napi_create_threadsafe_function, CODE, false)    \
  X(pipe2, MINUS_ONE, false)                         \
  X(pthread_create, CODE, false)                     \
  X(readv, MINUS_ONE, false)                         \
  X(recv, MINUS_ONE, false)                          \
  X(recvfrom, MINUS_ONE, false)                      \
  X(recvmmsg, MINUS_ONE, false)                      \
  X(recvmsg, MINUS_ONE, false)                       \
  X(send, MINUS_ONE, false)                          \
  X(sendfile, MINUS_ONE, false)                      \
  X(sendfile64, MINUS_ONE, false)                    \
  X(sendmmsg, MINUS_ONE, false)                      \
  X(sendmsg, MINUS_ONE, false)                       \
  X(sendto, MINUS_ONE, false)                        \
  X(setsockopt, MINUS_ONE, false)                    \
  X(shutdown, MINUS_ONE, MADE_THEN_FAILED)           \
  X(socket, MINUS_ONE, false)                        \
  X(socketpair, MINUS_ONE, false)                    \
  X(splice, MINUS_ONE, false)                        \
  X(syscall, MINUS_ONE, false)                       \
  X(tee, MINUS_ONE, false)                           \
  X(uv_poll_init, MINUS, false)                      \
  X(uv_poll_start, MINUS, false)                     \
  X(writev, MINUS_ONE, false)

typedef long (*function)(long, long, long, long, long, long, long, long, long, long, long, long);

struct symbol {
  const char *name;
  enum manner manner;
  bool made;
  function real, ours;
  atomic_long calls, failed;
};

static struct symbol symbols[];

/* Returns whether this call has to fail, and sets the code to fail with. */
static bool chosen(struct symbol *symbol, int *code) {
  const char *plan = getenv("INJECT");
  if (!plan) return false;
  const long nth = atomic_fetch_add(&symbol->calls, 1) + 1;
  char name[64];
  long first, count;
  if (sscanf(plan, "%63[^:]:%d:%ld:%ld", name, code, &first, &count) != 4) return false;
  if (strcmp(name, symbol->name) != 0 || nth < first || nth - first >= count) return false;
  atomic_fetch_add(&symbol->failed, 1);
  return true;
}

static long failure(enum manner manner, int code) {
  switch (manner) {
    case MINUS:
      return -code;
    case CODE:
      return code;
    default:
      errno = code;
      return manner == ZERO ? 0 : -1;
  }
}

#define INDEX(name, manner, made) name##_index,
enum { SYMBOLS(INDEX) COUNT };

/* All arguments of these functions fit into words, and none of them has more than twelve arguments. */
#define WORDS long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l

static long call(struct symbol *symbol, WORDS) {
  int code;
  /* Of the operations of epoll_ctl(2), only EPOLL_CTL_ADD allocates memory and can fail. */
  if (symbol == &symbols[epoll_ctl_index] && b != EPOLL_CTL_ADD) {
    return symbol->real(a, b, c, d, e, f, g, h, i, j, k, l);
  }
  if (!chosen(symbol, &code)) return symbol->real(a, b, c, d, e, f, g, h, i, j, k, l);
  if (symbol->made) symbol->real(a, b, c, d, e, f, g, h, i, j, k, l);
  return failure(symbol->manner, code);
}

#define OURS(name, manner, made) \
  static long our_##name(WORDS) { return call(&symbols[name##_index], a, b, c, d, e, f, g, h, i, j, k, l); }
SYMBOLS(OURS)

#define ROW(name, manner, made) {#name, manner, made, NULL, our_##name, 0, 0},
static struct symbol symbols[COUNT] = {SYMBOLS(ROW)};

/* The loader may or may not have made the addresses in the dynamic section absolute. */
static uintptr_t absolute(const struct link_map *map, uintptr_t address) {
  return address < map->l_addr ? map->l_addr + address : address;
}

static void replace(const struct link_map *map, const ElfW(Rela) * relocation, size_t size, const ElfW(Sym) * names,
                    const char *strings) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (size_t i = 0; i < size / sizeof *relocation; i++) {
    const char *name = strings + names[ELF64_R_SYM(relocation[i].r_info)].st_name;
    for (size_t s = 0; s < COUNT; s++) {
      if (strcmp(name, symbols[s].name) != 0) continue;
      symbols[s].real = (function)dlsym(RTLD_DEFAULT, name);
      function *slot = (function *)(map->l_addr + relocation[i].r_offset);
      if (mprotect((void *)((uintptr_t)slot & -page), page, PROT_READ | PROT_WRITE) != 0) abort();
      *slot = symbols[s].ours;
    }
  }
}

static void replace_all(const struct link_map *map) {
  uintptr_t table[DT_NUM] = {0};
  for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag < DT_NUM) table[entry->d_tag] = entry->d_un.d_ptr;
  }
  const ElfW(Sym) *names = (const ElfW(Sym) *)absolute(map, table[DT_SYMTAB]);
  const char *strings = (const char *)absolute(map, table[DT_STRTAB]);
  const ElfW(Rela) *data = (const ElfW(Rela) *)absolute(map, table[DT_RELA]);
  const ElfW(Rela) *calls = (const ElfW(Rela) *)absolute(map, table[DT_JMPREL]);
  replace(map, data, table[DT_RELASZ], names, strings);
  replace(map, calls, table[DT_PLTRELSZ], names, strings);
}

void *dlopen(const char *path, int flags) {
  void *(*real)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
  void *handle = real(path, flags);
  const char *name = path ? strrchr(path, '/') : NULL;
  struct link_map *map;
  if (handle && name && strcmp(name, "/native_core.node") == 0 && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
    replace_all(map);
  }
  return handle;
}

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("INJECT_LOG");
  FILE *log = path ? fopen(path, "w") : NULL;
  if (!log) return;
  for (size_t s = 0; s < COUNT; s++) {
    if (symbols[s].calls) fprintf(log, "%s %ld %ld\n", symbols[s].name, symbols[s].calls, symbols[s].failed);
  }
  fclose(log);
}
