#include "operator/redis/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace regroup::redis {

namespace {

Ended Classify(const asio::error_code& error) {
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) return Ended::kFin;
  if (error == asio::error::connection_refused) return Ended::kRefused;
  if (error == asio::error::connection_reset || error == asio::error::broken_pipe) {
    return Ended::kReset;
  }
  if (error == asio::error::host_unreachable || error == asio::error::network_unreachable ||
      error == asio::error::timed_out) {
    return Ended::kUnreachable;
  }
  return Ended::kOther;
}

constexpr std::size_t kReadBytes = 16 << 10;  // an INFO in one read
constexpr std::int64_t kReadFirstMs = 1;      // what has arrived is read within it

}  // namespace

Connection::Connection(asio::io_context& io, ConnectionOptions options, Events events)
    : io_(io), opening_(std::make_unique<Opening>(io, std::move(options))),
      events_(std::move(events)), socket_(io) {}

void Connection::Open() {
  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(opening_->options.address, error);
  if (error) {
    asio::post(io_, [self = shared_from_this()] { self->End(Ended::kOther, "bad address"); });
    return;
  }
  AwaitOpen(opening_->options.connect_timeout_ms);
  socket_.async_connect({address, static_cast<unsigned short>(opening_->options.port)},
                        [self = shared_from_this()](const asio::error_code& failed) {
                          self->OnConnected(failed);
                        });
}

void Connection::AwaitOpen(std::int64_t timeout_ms) {
  opening_->timer.expires_after(std::chrono::milliseconds(timeout_ms));
  opening_->timer.async_wait([self = shared_from_this()](const asio::error_code& cancelled) {
    if (cancelled || self->open_ || self->ended_) return;
    if (self->HasUnread()) return self->AwaitOpen(kReadFirstMs);
    // No TCP answer: the host is gone. TCP but no reply: the process hangs.
    self->End(self->accepted_ ? Ended::kTimeout : Ended::kUnreachable, "no answer in time");
  });
}

// This process, or its host, may have stood still: then an answer and its deadline are found at
// once, and who hangs is told by what did not arrive.
bool Connection::HasUnread() const {
  asio::error_code ignored;
  return accepted_ && socket_.available(ignored) > 0;
}

void Connection::OnConnected(const asio::error_code& error) {
  if (ended_) return;
  if (error) {
    End(Classify(error), error.message());
    return;
  }
  accepted_ = true;
  asio::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  if (!opening_->options.tls) {
    socket_.non_blocking(true, ignored);
    Authenticate();
    return;
  }
  tls_buffer_.resize(kReadBytes);
  tls_context_ = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
  tls_context_->set_verify_mode(asio::ssl::verify_peer, ignored);
  tls_context_->add_certificate_authority(asio::buffer(opening_->options.ca_pem), ignored);
  tls_ = std::make_unique<asio::ssl::stream<asio::ip::tcp::socket&>>(socket_, *tls_context_);
  tls_->async_handshake(asio::ssl::stream_base::client,
                        [self = shared_from_this()](const asio::error_code& failed) {
                          if (self->ended_) return;
                          if (failed) self->End(Classify(failed), failed.message());
                          else self->Authenticate();
                        });
}

void Connection::Authenticate() {
  StartRead();
  const ConnectionOptions& options = opening_->options;
  Send(EncodeCommand({"AUTH", options.user, options.password}), 1, options.connect_timeout_ms,
       [self = shared_from_this()](Result<std::vector<Reply>> replies) {
         if (!replies || self->ended_) return;  // the end is reported by End()
         // A server without our users is not one of ours, or has the wrong Secret.
         if (replies->front().is_error) {
           self->End(Ended::kDenied, "AUTH refused");
           return;
         }
         self->open_ = true;
         self->opening_.reset();
         if (self->events_.on_open) self->events_.on_open();
       });
}

void Connection::Send(std::string bytes, std::size_t replies, std::int64_t timeout_ms,
                      ReplyFn done) {
  if (ended_) {
    done(Fail(ErrorCode::kUnavailable, "the connection has ended"));
    return;
  }
  AwaitReply(pending_.emplace_back(io_, ++last_id_, replies, std::move(done)), timeout_ms);
  out_ += bytes;
  Write();
}

void Connection::AwaitReply(Pending& command, std::int64_t timeout_ms) {
  command.timer.expires_after(std::chrono::milliseconds(timeout_ms));
  command.timer.async_wait([self = shared_from_this(),
                            id = command.id](const asio::error_code& cancelled) {
    if (cancelled) return;
    // One that was answered a moment ago cannot take back that its time was over.
    const auto owed = std::find_if(self->pending_.begin(), self->pending_.end(),
                                   [id](const Pending& one) { return one.id == id; });
    if (owed == self->pending_.end()) return;
    if (self->HasUnread()) return self->AwaitReply(*owed, kReadFirstMs);
    self->End(Ended::kTimeout, "no reply in time");
  });
}

void Connection::Write() {
  if (!writing_.empty() || out_.empty() || ended_) return;
  writing_.swap(out_);
  auto done = [self = shared_from_this()](const asio::error_code& error, std::size_t) {
    std::string().swap(self->writing_);  // a connection that waits holds no room for a command
    if (self->ended_) return;
    if (error) self->End(Classify(error), error.message());
    else self->Write();
  };
  if (tls_) asio::async_write(*tls_, asio::buffer(writing_), done);
  else asio::async_write(socket_, asio::buffer(writing_), done);
}

void Connection::StartRead() {
  auto self = shared_from_this();
  if (tls_) {
    tls_->async_read_some(asio::buffer(tls_buffer_),
                          [self](const asio::error_code& error, std::size_t size) {
                            self->OnRead(error, {self->tls_buffer_.data(), size});
                          });
  } else {
    socket_.async_wait(asio::socket_base::wait_read,
                       [self](const asio::error_code& error) { self->OnReadable(error); });
  }
}

// All connections of a thread read into one buffer: what was read is handed on before the next.
void Connection::OnReadable(const asio::error_code& error) {
  if (ended_) return;
  thread_local std::array<char, kReadBytes> buffer;
  asio::error_code failed = error;
  const std::size_t size = error ? 0 : socket_.read_some(asio::buffer(buffer), failed);
  if (failed == asio::error::would_block) StartRead();
  else OnRead(failed, {buffer.data(), size});
}

void Connection::OnRead(const asio::error_code& error, std::string_view bytes) {
  if (ended_) return;
  if (error) {
    End(Classify(error), error.message());
    return;
  }
  if (events_.on_bytes) events_.on_bytes();
  if (!decoder_.Feed(bytes)) {
    End(Ended::kOther, "reply is too large");
    return;
  }
  Deliver();
  if (!ended_) StartRead();
}

void Connection::Deliver() {
  while (!ended_) {
    Result<std::optional<Reply>> reply = decoder_.Next();
    if (!reply || (reply->has_value() && pending_.empty())) {
      End(Ended::kOther, "reply is not RESP, or was not asked for");
      return;
    }
    if (!reply->has_value()) return;
    Pending& front = pending_.front();
    front.got.push_back(std::move(**reply));
    if (front.got.size() < front.replies) continue;
    std::list<Pending> answered;
    answered.splice(answered.begin(), pending_, pending_.begin());
    front.timer.cancel();
    front.done(std::move(front.got));
  }
}

void Connection::End(Ended how, const std::string& why) {
  if (ended_) return;
  std::function<void(Ended)> on_end = std::move(events_.on_end);
  const bool timed_out = how == Ended::kTimeout;
  std::list<Pending> pending;
  pending.swap(pending_);
  Close();
  for (Pending& command : pending) {
    command.timer.cancel();
    command.done(Fail(timed_out ? ErrorCode::kDeadlineExceeded : ErrorCode::kUnavailable, why));
  }
  if (on_end) on_end(how);
}

void Connection::Close() {
  if (ended_) return;
  ended_ = true;
  open_ = false;
  opening_.reset();
  asio::error_code ignored;
  socket_.close(ignored);
  std::list<Pending> pending;
  pending.swap(pending_);
  for (Pending& command : pending) {
    command.timer.cancel();
    command.done(Fail(ErrorCode::kUnavailable, "the connection was closed"));
  }
  events_ = {};
}

std::int64_t Connection::UnacknowledgedMs() {
  if (ended_ || !accepted_) return 0;
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  if (info.tcpi_unacked == 0) return 0;
  return std::min<std::int64_t>(info.tcpi_last_data_sent, info.tcpi_last_ack_recv);
}

}  // namespace regroup::redis
