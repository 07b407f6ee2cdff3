#include "operator/admin/server.h"

#include <algorithm>
#include <chrono>

namespace regroup::admin {

namespace {

using asio::ip::tcp;

constexpr std::size_t kRequestMaxBytes = 8192;
constexpr std::chrono::seconds kSessionMax{5};

const char* ReasonOf(int status) {
  switch (status) {
    case 200: return "OK";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 503: return "Service Unavailable";
    default: return "Bad Request";
  }
}

Response FromHealth(const std::function<Health()>& check) {
  const Health health = check ? check() : Health{};
  return {health.ok ? 200 : 503, "text/plain; charset=utf-8", health.detail + "\n"};
}

std::string Encode(const Response& response) {
  return "HTTP/1.1 " + std::to_string(response.status) + " " + ReasonOf(response.status) +
         "\r\nContent-Type: " + response.content_type +
         "\r\nContent-Length: " + std::to_string(response.body.size()) +
         "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n" + response.body;
}

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const Handlers& handlers)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), handlers_(handlers),
        buffer_(kRequestMaxBytes) {}

  void Start() {
    auto self = shared_from_this();
    timer_.expires_after(kSessionMax);
    timer_.async_wait([self](const asio::error_code& error) {
      if (!error) self->Close();
    });
    asio::async_read_until(socket_, buffer_, "\r\n\r\n",
                           [self](const asio::error_code& error, std::size_t) {
                             if (error) self->Close();
                             else self->Reply();
                           });
  }

 private:
  void Reply() {
    const std::string head(asio::buffers_begin(buffer_.data()), asio::buffers_end(buffer_.data()));
    const std::string line = head.substr(0, head.find("\r\n"));
    const std::size_t first = line.find(' ');
    const std::size_t second = line.find(' ', first == std::string::npos ? first : first + 1);
    Response response{400, "text/plain; charset=utf-8", "not an HTTP request\n"};
    if (first != std::string::npos && second != std::string::npos) {
      response = Answer(handlers_, line.substr(0, first),
                        line.substr(first + 1, second - first - 1));
    }
    out_ = Encode(response);
    asio::async_write(socket_, asio::buffer(out_),
                      [self = shared_from_this()](const asio::error_code&, std::size_t) {
                        self->Close();
                      });
  }

  void Close() {
    asio::error_code ignored;
    timer_.cancel(ignored);
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  const Handlers& handlers_;
  asio::streambuf buffer_;
  std::string out_;
};

}  // namespace

Response Answer(const Handlers& handlers, const std::string& method, const std::string& target) {
  const std::string path = target.substr(0, target.find('?'));
  if (path == "/failpoint" && method == "PUT" && handlers.failpoint) {
    const std::size_t at = target.find("name=");
    if (at == std::string::npos) return {400, "text/plain; charset=utf-8", "name is missing\n"};
    handlers.failpoint(target.substr(at + 5));
    return {200, "text/plain; charset=utf-8", "armed\n"};
  }
  if (method != "GET" && method != "HEAD") {
    return {405, "text/plain; charset=utf-8", "only GET is served\n"};
  }
  if (path == "/healthz") return FromHealth(handlers.healthy);
  if (path == "/readyz") return FromHealth(handlers.ready);
  if (path == "/metrics" && handlers.metrics) {
    return {200, "text/plain; version=0.0.4; charset=utf-8", handlers.metrics()};
  }
  return {404, "text/plain; charset=utf-8", "there are /healthz, /readyz and /metrics\n"};
}

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
  Impl(asio::io_context& io, Handlers the_handlers)
      : acceptor(io), handlers(std::move(the_handlers)) {}

  void Accept() {
    acceptor.async_accept([self = shared_from_this()](const asio::error_code& error,
                                                      tcp::socket socket) {
      if (!self->acceptor.is_open()) return;
      if (!error) std::make_shared<Session>(std::move(socket), self->handlers)->Start();
      self->Accept();
    });
  }

  tcp::acceptor acceptor;
  const Handlers handlers;
};

Server::Server(asio::io_context& io, Handlers handlers)
    : impl_(std::make_shared<Impl>(io, std::move(handlers))) {}

Result<void> Server::Listen(const std::string& address, std::uint16_t port) {
  asio::error_code error;
  const asio::ip::address where = asio::ip::make_address(address, error);
  const tcp::endpoint endpoint(where, port);
  if (!error) impl_->acceptor.open(endpoint.protocol(), error);
  if (!error) impl_->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) impl_->acceptor.bind(endpoint, error);
  if (!error) impl_->acceptor.listen(16, error);
  if (error) {
    return Fail(ErrorCode::kUnavailable, "cannot listen on " + address + ":" +
                std::to_string(port) + " (" + error.message() +
                "); choose another --admin-address or --admin-port");
  }
  impl_->Accept();
  return {};
}

std::uint16_t Server::port() const {
  asio::error_code ignored;
  return impl_->acceptor.local_endpoint(ignored).port();
}

void Server::Stop() {
  asio::post(impl_->acceptor.get_executor(), [impl = impl_] {
    asio::error_code ignored;
    impl->acceptor.close(ignored);
  });
}

}  // namespace regroup::admin
