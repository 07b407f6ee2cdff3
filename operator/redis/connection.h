// One authenticated connection to one engine, on the Asio thread. Commands are pipelined; a command
// without an answer at its deadline closes the connection, so that it cannot be answered later.
// Thread: the Asio thread only. Lifetime: shared; callbacks hold it alive, Close() ends it.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <asio.hpp>
#include <asio/ssl.hpp>

#include "operator/base/clock.h"
#include "operator/base/error.h"
#include "operator/redis/resp_codec.h"
#include "operator/redis/track.h"

namespace regroup::redis {

struct ConnectionOptions {
  std::string address;
  int port = 0;
  std::string user;
  std::string password;
  bool tls = false;
  std::string ca_pem;
  std::int64_t connect_timeout_ms = 1000;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using ReplyFn = std::function<void(Result<std::vector<Reply>>)>;

  struct Events {
    std::function<void()> on_open;           // connected and authenticated
    std::function<void(Ended how)> on_end;   // exactly once, unless Close() came first
    std::function<void()> on_bytes;          // any bytes of a reply
  };

  Connection(asio::io_context& io, ConnectionOptions options, Events events);

  void Open();
  void Close();
  // `bytes` holds `replies` whole commands. The callback runs once, with kUnavailable when the
  // connection ends first.
  void Send(std::string bytes, std::size_t replies, std::int64_t timeout_ms, ReplyFn done);

  void SetEvents(Events events) { events_ = std::move(events); }  // before Open()
  bool open() const { return open_; }
  bool ended() const { return ended_; }
  bool waiting() const { return !pending_.empty(); }
  bool accepted() const { return accepted_; }  // the host's TCP said yes
  // How long data has been sent and not acknowledged by the host's TCP; 0: nothing is outstanding.
  std::int64_t UnacknowledgedMs();

 private:
  struct Pending {
    Pending(asio::io_context& io, std::uint32_t its_id, std::size_t count, ReplyFn then)
        : id(its_id), replies(count), done(std::move(then)), timer(io) {}
    std::uint32_t id;
    std::size_t replies;
    std::vector<Reply> got;
    ReplyFn done;
    asio::steady_timer timer;
  };

  void AwaitOpen(std::int64_t timeout_ms);
  void AwaitReply(Pending& command, std::int64_t timeout_ms);
  bool HasUnread() const;
  void OnConnected(const asio::error_code& error);
  void Authenticate();
  void StartRead();
  void OnReadable(const asio::error_code& error);
  void OnRead(const asio::error_code& error, std::string_view bytes);
  void Deliver();
  void Write();
  void End(Ended how, const std::string& why);

  // What only an opening needs, a password among it: thousands of connections wait at rest.
  struct Opening {
    Opening(asio::io_context& io, ConnectionOptions the_options)
        : options(std::move(the_options)), timer(io) {}
    ConnectionOptions options;
    asio::steady_timer timer;
  };

  asio::io_context& io_;
  std::unique_ptr<Opening> opening_;
  Events events_;
  asio::ip::tcp::socket socket_;
  std::unique_ptr<asio::ssl::context> tls_context_;
  std::unique_ptr<asio::ssl::stream<asio::ip::tcp::socket&>> tls_;
  RespDecoder decoder_;
  std::vector<char> tls_buffer_;  // without TLS nothing is held for a reply that may come
  std::string out_;
  std::string writing_;
  std::list<Pending> pending_;
  std::uint32_t last_id_ = 0;  // of a command; one wait outlives its command by no 2^32 others
  bool accepted_ = false;
  bool open_ = false;
  bool ended_ = false;
};

}  // namespace regroup::redis
