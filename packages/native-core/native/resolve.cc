// Names, numbers and interfaces by the C library. Lookups block, so they run on detached threads of our own;
// src/resolve/resolve.ts says how many there are, and why libuv's pool isn't used.
#include <arpa/inet.h>
#include <locale.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "syscalls.h"

namespace boundary {

namespace {

// One getaddrinfo or getnameinfo. Its owner is first the pool's queue, then the thread that looks it up, then the
// queue of the thread-safe function, from which `deliver` takes it.
struct Request {
  int32_t id;
  // Written by JavaScript's thread under the pool's mutex.
  bool abandoned = false;
  void (*look_up)(Request&);

  bool has_node = false;
  bool has_service = false;
  std::string node;
  std::string service;
  addrinfo hints{};
  sockaddr_storage name{};
  socklen_t name_length = 0;
  int flags = 0;

  int eai = 0;
  int error = 0;
  std::string result;
};

// The state that the threads share with their environment. A thread keeps it if the environment ends first: a thread
// inside getaddrinfo can't be stopped.
struct Pool {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::unique_ptr<Request>> queue;
  size_t most = 1;
  size_t threads = 0;
  size_t idle = 0;
  bool closed = false;
  napi_threadsafe_function deliver = nullptr;
};

constexpr auto kIdleTime = std::chrono::seconds(5);
constexpr size_t kStackSize = 512 * 1024;
constexpr size_t kMostThreads = 1024;

}  // namespace

struct Resolver {
  std::shared_ptr<Pool> pool = std::make_shared<Pool>();
  // The requests that JavaScript still waits for; not owned. While this thread runs JavaScript, no request is deleted
  // without being removed from here. The process stays alive while there is one.
  std::unordered_map<int32_t, Request*> waiting;
};

namespace {

void put(std::string& out, uint32_t word) { out.append(reinterpret_cast<const char*>(&word), sizeof word); }

void put(std::string& out, const void* data, size_t size) {
  if (size) out.append(static_cast<const char*>(data), size);
  out.append((4 - size % 4) % 4, '\0');
}

// Per address: i32 flags, i32 family, i32 socktype, i32 protocol, u32 address length, u32 canonical name length; then
// the address and the name, each padded to 4.
void look_up_address(Request& request) {
  addrinfo* list = nullptr;
  request.eai = ::getaddrinfo(request.has_node ? request.node.c_str() : nullptr,
                              request.has_service ? request.service.c_str() : nullptr, &request.hints, &list);
  request.error = request.eai == EAI_SYSTEM ? errno : 0;
  if (request.eai != 0) return;
  for (const addrinfo* entry = list; entry; entry = entry->ai_next) {
    const size_t name_length = entry->ai_canonname ? std::strlen(entry->ai_canonname) : 0;
    put(request.result, static_cast<uint32_t>(entry->ai_flags));
    put(request.result, static_cast<uint32_t>(entry->ai_family));
    put(request.result, static_cast<uint32_t>(entry->ai_socktype));
    put(request.result, static_cast<uint32_t>(entry->ai_protocol));
    put(request.result, entry->ai_addrlen);
    put(request.result, static_cast<uint32_t>(name_length));
    put(request.result, entry->ai_addr, entry->ai_addrlen);
    put(request.result, entry->ai_canonname, name_length);
  }
  ::freeaddrinfo(list);
}

// u32 host length, u32 service length; then the host and the service, each padded to 4.
void look_up_name(Request& request) {
  char host[NI_MAXHOST] = "";
  char service[NI_MAXSERV] = "";
  request.eai = ::getnameinfo(reinterpret_cast<const sockaddr*>(&request.name), request.name_length, host, sizeof host,
                              service, sizeof service, request.flags);
  request.error = request.eai == EAI_SYSTEM ? errno : 0;
  if (request.eai != 0) return;
  const size_t host_length = std::strlen(host), service_length = std::strlen(service);
  put(request.result, static_cast<uint32_t>(host_length));
  put(request.result, static_cast<uint32_t>(service_length));
  put(request.result, host, host_length);
  put(request.result, service, service_length);
}

// Takes over an object passed through a C function's pointer by `std::make_unique<T>(…).release()`.
template <typename T>
T take(void* data) {
  return std::move(*std::unique_ptr<T>(static_cast<T*>(data)));
}

void* work(void* data) {
  const std::shared_ptr<Pool> pool = take<std::shared_ptr<Pool>>(data);

  // Names are UTF-8, but getaddrinfo reads international names (AI_IDN) in the charset of the locale, which Node
  // never sets. Without a C.UTF-8 locale only those names fail.
  const locale_t utf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8) ::uselocale(utf8);

  std::unique_lock<std::mutex> lock(pool->mutex);
  for (;;) {
    pool->idle++;
    const bool woken = pool->wake.wait_for(lock, kIdleTime, [&] { return pool->closed || !pool->queue.empty(); });
    pool->idle--;
    if (!woken || pool->closed || pool->threads > pool->most) break;
    std::unique_ptr<Request> request = std::move(pool->queue.front());
    pool->queue.pop_front();

    lock.unlock();
    request->look_up(*request);
    lock.lock();

    // Under the mutex: closing the pool waits for this call, and the function is gone afterwards.
    if (!pool->closed && !request->abandoned &&
        napi_call_threadsafe_function(pool->deliver, request.get(), napi_tsfn_nonblocking) == napi_ok) {
      request.release();
    }
  }
  pool->threads--;
  // If this thread exceeds the limit, a request may have woken it.
  if (!pool->queue.empty()) pool->wake.notify_one();
  lock.unlock();
  if (utf8) {
    ::uselocale(LC_GLOBAL_LOCALE);
    ::freelocale(utf8);
  }
  return nullptr;
}

// Detached, so that nothing waits for a resolver that takes half a minute. The library is linked with -z nodelete,
// because such a thread may still run its code after the last environment has unloaded it.
bool start_thread(const std::shared_ptr<Pool>& pool) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackSize);

  // A thread inherits the mask: only Node's own threads should get signals.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto held = std::make_unique<std::shared_ptr<Pool>>(pool);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, work, held.get()) == 0;
  if (started) held.release();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return started;
}

bool make_result(napi_env env, const Request& request, napi_value* result) {
  if (request.eai != 0) return napi_get_null(env, result) == napi_ok;
  const size_t size = request.result.size();
  void* bytes;
  napi_value buffer;
  if (napi_create_arraybuffer(env, size, &bytes, &buffer) != napi_ok) return false;
  request.result.copy(static_cast<char*>(bytes), size);
  return napi_create_typedarray(env, napi_uint8_array, size, buffer, 0, result) == napi_ok;
}

// Runs on JavaScript's thread; `env` is null while the environment is being torn down. A failed call means the same,
// except for the call of `done`, which may have thrown.
void deliver(napi_env env, napi_value done, void* context, void* data) {
  const std::unique_ptr<Request> request(static_cast<Request*>(data));
  if (!env || request->abandoned) return;
  auto& resolver = *static_cast<Resolver*>(context);
  resolver.waiting.erase(request->id);
  if (resolver.waiting.empty()) napi_unref_threadsafe_function(env, resolver.pool->deliver);

  napi_value arguments[4], undefined;
  if (napi_create_int32(env, request->id, &arguments[0]) != napi_ok ||
      napi_create_int32(env, request->eai, &arguments[1]) != napi_ok ||
      napi_create_int32(env, request->error, &arguments[2]) != napi_ok || !make_result(env, *request, &arguments[3]) ||
      napi_get_undefined(env, &undefined) != napi_ok) {
    return;
  }
  if (napi_call_function(env, undefined, done, 4, arguments, nullptr) == napi_ok) return;
  // Otherwise Node would print a deprecation warning and go on. https://nodejs.org/api/deprecations.html#DEP0168
  bool thrown = false;
  napi_value error;
  if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);
  }
}

void close_pool(void* data) {
  const std::shared_ptr<Pool> pool = take<std::shared_ptr<Pool>>(data);
  {
    const std::lock_guard<std::mutex> lock(pool->mutex);
    pool->closed = true;
    pool->queue.clear();
  }
  pool->wake.notify_all();
}

Resolver* resolver_at(Args& a) {
  const int32_t handle = a.i32(0);
  const auto& resolvers = a.state().resolvers;
  return handle >= 0 && static_cast<size_t>(handle) < resolvers.size() ? resolvers[static_cast<size_t>(handle)].get()
                                                                       : nullptr;
}

int32_t submit(Args& a, Resolver& resolver, std::unique_ptr<Request> request) {
  const std::shared_ptr<Pool>& pool = resolver.pool;
  Request* const submitted = request.get();
  bool waits;
  {
    const std::lock_guard<std::mutex> lock(pool->mutex);
    waits = pool->queue.size() >= pool->idle;
    if (waits && pool->threads < pool->most && start_thread(pool)) {
      pool->threads++;
      waits = false;
    }
    if (pool->threads == 0) return -EAGAIN;
    pool->queue.push_back(std::move(request));
  }
  pool->wake.notify_one();
  if (resolver.waiting.empty()) napi_ref_threadsafe_function(a.env, pool->deliver);
  resolver.waiting.emplace(submitted->id, submitted);
  return waits;
}

// Checks that both kinds of request need before a request is built.
int32_t refuse_request(Args& a, const Resolver* resolver, int32_t id) {
  if (a.complaint()) return a.complaint();
  if (!resolver) return -EBADF;
  return resolver->waiting.count(id) ? -EEXIST : 0;
}

// Converts bytes to a C string; false if a NUL would end it early.
bool text(Bytes bytes, std::string& out) {
  if (bytes.size && std::memchr(bytes.data, 0, bytes.size)) return false;
  out.assign(reinterpret_cast<const char*>(bytes.data), bytes.size);
  return true;
}

}  // namespace

int32_t inet_pton(Args& a) {
  const int family = a.i32(0);
  const Bytes bytes = a.bytes(1);
  const Bytes address = a.bytes(2);
  if (a.complaint()) return a.complaint();
  if (address.size < (family == AF_INET6 ? sizeof(in6_addr) : sizeof(in_addr))) return a.refuse(2, Kind::within);
  char text[INET6_ADDRSTRLEN + 1];
  if (bytes.size >= sizeof text || (bytes.size && std::memchr(bytes.data, 0, bytes.size))) return 0;
  std::copy_n(bytes.data, bytes.size, text);
  text[bytes.size] = '\0';
  return answer(::inet_pton(family, text, address.data));
}

int32_t inet_ntop(Args& a) {
  const int family = a.i32(0);
  const Bytes address = a.bytes(1);
  const Bytes text = a.bytes(2);
  if (a.complaint()) return a.complaint();
  if (address.size < (family == AF_INET6 ? sizeof(in6_addr) : sizeof(in_addr))) return a.refuse(1, Kind::within);
  char written[INET6_ADDRSTRLEN];
  if (!::inet_ntop(family, address.data, written, sizeof written)) return -errno;
  const size_t length = std::strlen(written);
  if (length > text.size) return -ENOSPC;
  std::copy_n(written, length, text.data);
  return static_cast<int32_t>(length);
}

int32_t if_nametoindex(Args& a) {
  const Bytes bytes = a.bytes(0);
  if (a.complaint()) return a.complaint();
  std::string name;
  if (!text(bytes, name) || name.size() >= IF_NAMESIZE) return -ENODEV;
  const unsigned index = ::if_nametoindex(name.c_str());
  return index ? static_cast<int32_t>(index) : -errno;
}

int32_t if_indextoname(Args& a) {
  const uint32_t index = a.word(0);
  const Bytes name = a.bytes(1);
  if (a.complaint()) return a.complaint();
  char written[IF_NAMESIZE];
  if (!::if_indextoname(index, written)) return -errno;
  const size_t length = std::strlen(written);
  if (length > name.size) return -ENOSPC;
  std::copy_n(written, length, name.data);
  return static_cast<int32_t>(length);
}

int32_t resolve_open(Args& a) {
  const napi_value done = a.function(0);
  if (a.complaint()) return a.complaint();

  auto resolver = std::make_shared<Resolver>();
  Pool& pool = *resolver->pool;
  napi_value name;
  if (napi_create_string_utf8(a.env, "native-core", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(a.env, done, nullptr, name, 0, 1, nullptr, nullptr, resolver.get(), deliver,
                                      &pool.deliver) != napi_ok) {
    return -ENOMEM;
  }
  // Registered after the hook of the thread-safe function, so that it runs before that one: hooks run in reverse
  // order.
  auto held = std::make_unique<std::shared_ptr<Pool>>(resolver->pool);
  if (napi_add_env_cleanup_hook(a.env, close_pool, held.get()) != napi_ok) {
    napi_release_threadsafe_function(pool.deliver, napi_tsfn_abort);
    return -ENOMEM;
  }
  held.release();
  napi_unref_threadsafe_function(a.env, pool.deliver);
  a.state().resolvers.push_back(std::move(resolver));
  return static_cast<int32_t>(a.state().resolvers.size() - 1);
}

int32_t resolve_limit(Args& a) {
  Resolver* resolver = resolver_at(a);
  const int32_t most = a.i32(1);
  if (a.complaint()) return a.complaint();
  if (!resolver) return -EBADF;
  if (most < 1) return -EINVAL;
  const std::lock_guard<std::mutex> lock(resolver->pool->mutex);
  resolver->pool->most = std::min(static_cast<size_t>(most), kMostThreads);
  return 0;
}

int32_t getaddrinfo(Args& a) {
  Resolver* resolver = resolver_at(a);
  const int32_t id = a.i32(1);
  const Bytes node = a.bytes_or_null(2);
  const Bytes service = a.bytes_or_null(3);
  const bool has_node = !a.is_null(2);
  const bool has_service = !a.is_null(3);
  const int flags = a.flags(4);
  const int family = a.i32(5);
  const int socktype = a.i32(6);
  const int protocol = a.i32(7);
  if (const int32_t refused = refuse_request(a, resolver, id)) return refused;

  auto request = std::make_unique<Request>();
  request->id = id;
  request->look_up = look_up_address;
  request->has_node = has_node;
  request->has_service = has_service;
  if (!text(node, request->node) || !text(service, request->service)) return -EINVAL;
  request->hints.ai_flags = flags;
  request->hints.ai_family = family;
  request->hints.ai_socktype = socktype;
  request->hints.ai_protocol = protocol;
  return submit(a, *resolver, std::move(request));
}

int32_t getnameinfo(Args& a) {
  Resolver* resolver = resolver_at(a);
  const int32_t id = a.i32(1);
  const Bytes name = a.bytes(2);
  const int flags = a.flags(3);
  if (const int32_t refused = refuse_request(a, resolver, id)) return refused;

  auto request = std::make_unique<Request>();
  request->id = id;
  request->look_up = look_up_name;
  request->flags = flags;
  if (name.size > sizeof request->name) return -EINVAL;
  std::copy_n(name.data, name.size, reinterpret_cast<uint8_t*>(&request->name));
  request->name_length = static_cast<socklen_t>(name.size);
  return submit(a, *resolver, std::move(request));
}

int32_t resolve_cancel(Args& a) {
  Resolver* resolver = resolver_at(a);
  const int32_t id = a.i32(1);
  if (a.complaint()) return a.complaint();
  if (!resolver) return -EBADF;
  const auto found = resolver->waiting.find(id);
  if (found == resolver->waiting.end()) return -ENOENT;
  Request* request = found->second;
  resolver->waiting.erase(found);

  Pool& pool = *resolver->pool;
  {
    const std::lock_guard<std::mutex> lock(pool.mutex);
    const auto queued = std::find_if(pool.queue.begin(), pool.queue.end(),
                                     [&](const std::unique_ptr<Request>& each) { return each.get() == request; });
    if (queued != pool.queue.end()) {
      pool.queue.erase(queued);
    } else {
      request->abandoned = true;
    }
  }
  if (resolver->waiting.empty()) napi_unref_threadsafe_function(a.env, pool.deliver);
  return 0;
}

}  // namespace boundary
