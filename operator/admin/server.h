// /healthz, /readyz and /metrics over plain HTTP/1.1: small, bounded, one request a connection.
// Thread: everything runs on the io_context's one thread, which the caller owns; the callbacks are
// called there and must not block. Lifetime: the io_context has ended before this is destroyed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <asio.hpp>

#include "operator/base/error.h"

namespace regroup::admin {

struct Health {
  bool ok = true;
  std::string detail;  // one line for the body
};

struct Handlers {
  std::function<Health()> healthy;       // false: the kubelet restarts the container
  std::function<Health()> ready;         // leader, or standby with warm caches
  std::function<std::string()> metrics;  // Prometheus' text format
  // PUT /failpoint?name=…, for tests; empty: 404, as in production.
  std::function<void(const std::string& name)> failpoint;
};

class Server {
 public:
  Server(asio::io_context& io, Handlers handlers);
  // kUnavailable: the address or port cannot be had, and why.
  Result<void> Listen(const std::string& address, std::uint16_t port);
  std::uint16_t port() const;
  void Stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

struct Response {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};
// The pure part: what a request line is answered.
Response Answer(const Handlers& handlers, const std::string& method, const std::string& target);

}  // namespace regroup::admin
