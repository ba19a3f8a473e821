/*
 * pin CPU PROGRAM ARGUMENT…: runs a program on one processor, with the highest allowed limit of descriptors. The
 * program is killed when the benchmark ends.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "common.h"

int main(int count, char **arguments) {
  if (count < 3) complain("pin CPU PROGRAM ARGUMENT…");
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(atoi(arguments[1]), &set);
  try(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
  struct rlimit limit;
  try(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  try(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  try(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
  execvp(arguments[2], arguments + 2);
  die(arguments[2]);
}
