#include <arpa/inet.h>
#include <ifaddrs.h>
#include <locale.h>
#include <net/if.h>
#include <netdb.h>
#include <netpacket/packet.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

#include "syscalls.h"

namespace boundary {

namespace {

// One getaddrinfo or getnameinfo. Belongs to the pool until it is looked up, then to the thread that does it, then to
// the queue of the thread-safe function: whoever has it last deletes it.
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

// What the threads share with their environment, and what they keep when it goes before them: a thread inside
// getaddrinfo can't be stopped.
struct Pool {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Request*> queue;
  size_t most = 0;
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
  // Those that JavaScript still waits for. As long as there is one, the process stays alive.
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

void* work(void* data) {
  auto* held = static_cast<std::shared_ptr<Pool>*>(data);
  const std::shared_ptr<Pool> pool = *held;
  delete held;

  // Names are UTF-8, but getaddrinfo reads international ones (AI_IDN) in the charset of the locale, which Node never
  // sets. Where there is no such locale, only those fail.
  const locale_t utf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8) ::uselocale(utf8);

  std::unique_lock<std::mutex> lock(pool->mutex);
  for (;;) {
    pool->idle++;
    const bool woken = pool->wake.wait_for(lock, kIdleTime, [&] { return pool->closed || !pool->queue.empty(); });
    pool->idle--;
    if (!woken || pool->closed) break;
    Request* request = pool->queue.front();
    pool->queue.pop_front();

    lock.unlock();
    request->look_up(*request);
    lock.lock();

    // Under the mutex: closing the pool waits for this call, and after it the function is gone.
    if (pool->closed || request->abandoned ||
        napi_call_threadsafe_function(pool->deliver, request, napi_tsfn_nonblocking) != napi_ok) {
      delete request;
    }
  }
  pool->threads--;
  lock.unlock();
  if (utf8) {
    ::uselocale(LC_GLOBAL_LOCALE);
    ::freelocale(utf8);
  }
  return nullptr;
}

// Detached: nobody waits for a resolver that takes half a minute. The library is linked with -z nodelete, because such
// a thread may still run its code when the last environment has unloaded it.
bool start_thread(const std::shared_ptr<Pool>& pool) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackSize);

  // A thread inherits the mask: signals are for the threads of Node.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto* held = new std::shared_ptr<Pool>(pool);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, work, held) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (!started) delete held;
  return started;
}

// Runs on JavaScript's thread; without an environment when that is being taken down.
void deliver(napi_env env, napi_value done, void* context, void* data) {
  const std::unique_ptr<Request> request(static_cast<Request*>(data));
  if (!env || request->abandoned) return;
  auto& resolver = *static_cast<Resolver*>(context);
  resolver.waiting.erase(request->id);
  if (resolver.waiting.empty()) napi_unref_threadsafe_function(env, resolver.pool->deliver);

  napi_value arguments[4];
  napi_create_int32(env, request->id, &arguments[0]);
  napi_create_int32(env, request->eai, &arguments[1]);
  napi_create_int32(env, request->error, &arguments[2]);
  napi_get_null(env, &arguments[3]);
  if (request->eai == 0) {
    void* bytes;
    napi_value buffer;
    if (napi_create_arraybuffer(env, request->result.size(), &bytes, &buffer) == napi_ok) {
      request->result.copy(static_cast<char*>(bytes), request->result.size());
      napi_create_typedarray(env, napi_uint8_array, request->result.size(), buffer, 0, &arguments[3]);
    }
  }
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  if (napi_call_function(env, undefined, done, 4, arguments, nullptr) == napi_ok) return;
  // Node would print a deprecation warning and go on. https://nodejs.org/api/deprecations.html#DEP0168
  bool thrown = false;
  napi_value error;
  if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);
  }
}

void close_pool(void* data) {
  auto* held = static_cast<std::shared_ptr<Pool>*>(data);
  Pool& pool = **held;
  {
    const std::lock_guard<std::mutex> lock(pool.mutex);
    pool.closed = true;
    for (Request* request : pool.queue) delete request;
    pool.queue.clear();
  }
  pool.wake.notify_all();
  delete held;
}

Resolver* resolver_at(Args& a) {
  const int32_t handle = a.i32(0);
  const auto& resolvers = a.state().resolvers;
  return handle >= 0 && static_cast<size_t>(handle) < resolvers.size() ? resolvers[static_cast<size_t>(handle)].get()
                                                                       : nullptr;
}

int32_t submit(Args& a, Resolver& resolver, std::unique_ptr<Request> request) {
  const std::shared_ptr<Pool>& pool = resolver.pool;
  {
    const std::lock_guard<std::mutex> lock(pool->mutex);
    if (pool->queue.size() >= pool->idle && pool->threads < pool->most) {
      if (start_thread(pool)) {
        pool->threads++;
      } else if (pool->threads == 0) {
        return -EAGAIN;
      }
    }
    pool->queue.push_back(request.get());
  }
  pool->wake.notify_one();
  if (resolver.waiting.empty()) napi_ref_threadsafe_function(a.env, pool->deliver);
  resolver.waiting.emplace(request->id, request.get());
  request.release();
  return 0;
}

// What both kinds of request have to be told before they are built.
int32_t refuse_request(Args& a, const Resolver* resolver, int32_t id) {
  if (a.complaint()) return a.complaint();
  if (!resolver) return -EBADF;
  return resolver->waiting.count(id) ? -EEXIST : 0;
}

// The C string of some bytes; false where a NUL would end it early.
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

// Per record: u32 record length (this word included), u32 flags, u32 name length, u32 address length, u32 netmask
// length, u32 broadcast or destination address length; then the four byte strings in that order, each padded to 4.
// Numbers in host order; addresses are sockaddrs; length 0: there is none. Only whole records are written.
int32_t getifaddrs(Args& a) {
  const Bytes out = a.bytes(0);
  if (a.complaint()) return a.complaint();
  ifaddrs* list = nullptr;
  const int rc = retry([&] { return ::getifaddrs(&list); });
  if (rc == -1) return -errno;

  // A sockaddr does not know its length; Linux interfaces have these three families.
  const auto size_of = [](const sockaddr* address) -> uint32_t {
    if (!address) return 0;
    switch (address->sa_family) {
      case AF_INET:
        return sizeof(sockaddr_in);
      case AF_INET6:
        return sizeof(sockaddr_in6);
      case AF_PACKET:
        return sizeof(sockaddr_ll);
      default:
        return sizeof(sockaddr);
    }
  };

  size_t total = 0;
  bool full = false;
  std::string record;
  for (const ifaddrs* entry = list; entry; entry = entry->ifa_next) {
    const uint32_t name_length = static_cast<uint32_t>(std::strlen(entry->ifa_name));
    record.assign(sizeof(uint32_t), '\0');
    put(record, entry->ifa_flags);
    put(record, name_length);
    put(record, size_of(entry->ifa_addr));
    put(record, size_of(entry->ifa_netmask));
    put(record, size_of(entry->ifa_broadaddr));
    put(record, entry->ifa_name, name_length);
    put(record, entry->ifa_addr, size_of(entry->ifa_addr));
    put(record, entry->ifa_netmask, size_of(entry->ifa_netmask));
    put(record, entry->ifa_broadaddr, size_of(entry->ifa_broadaddr));
    const uint32_t length = static_cast<uint32_t>(record.size());
    std::memcpy(&record[0], &length, sizeof length);
    full = full || length > out.size - total;
    if (!full) record.copy(reinterpret_cast<char*>(out.data) + total, length);
    total += length;
  }
  ::freeifaddrs(list);
  return static_cast<int32_t>(total);
}

int32_t resolve_open(Args& a) {
  const napi_value done = a.function(0);
  const int32_t most = a.i32(1);
  if (a.complaint()) return a.complaint();
  if (most < 1) return -EINVAL;

  auto resolver = std::make_shared<Resolver>();
  Pool& pool = *resolver->pool;
  pool.most = std::min(static_cast<size_t>(most), kMostThreads);
  napi_value name;
  napi_create_string_utf8(a.env, "native-core", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(a.env, done, nullptr, name, 0, 1, nullptr, nullptr, resolver.get(), deliver,
                                      &pool.deliver) != napi_ok) {
    return -ENOMEM;
  }
  napi_unref_threadsafe_function(a.env, pool.deliver);
  // After the function's own hook, so before it when the environment goes: hooks run in reverse order.
  napi_add_env_cleanup_hook(a.env, close_pool, new std::shared_ptr<Pool>(resolver->pool));
  a.state().resolvers.push_back(std::move(resolver));
  return static_cast<int32_t>(a.state().resolvers.size() - 1);
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
    const auto queued = std::find(pool.queue.begin(), pool.queue.end(), request);
    if (queued != pool.queue.end()) {
      pool.queue.erase(queued);
      delete request;
    } else {
      request->abandoned = true;
    }
  }
  if (resolver->waiting.empty()) napi_unref_threadsafe_function(a.env, pool.deliver);
  return 0;
}

}  // namespace boundary
