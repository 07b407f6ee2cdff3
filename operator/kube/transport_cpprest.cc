// The one file that knows cpprestsdk. Its rules: one pool thread, no redirects, two clients (calls
// and watches), our own line sink, cancels on the pool, no continuation that can throw unseen.
#define _REPORT_PPLTASK_UNOBSERVED_EXCEPTION() \
  do {                                         \
  } while (false)
#include <cpprest/http_client.h>
#include <pplx/threadpool.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "operator/base/log.h"
#include "operator/kube/transport.h"

namespace regroup::kube {

namespace {

namespace http = web::http;
using HttpClient = http::client::http_client;

constexpr std::int64_t kTokenAgeMs = 60'000;
constexpr std::size_t kLineMax = 8 << 20;
constexpr int kWatchIdleSeconds = 300;
constexpr int kCallIdleSeconds = 15;

// Cuts the body into lines as its chunks arrive; write-only.
class LineSink final : public concurrency::streams::details::streambuf_state_manager<std::uint8_t> {
 public:
  explicit LineSink(std::function<void(std::string)> on_line)
      : streambuf_state_manager(std::ios_base::out), on_line_(std::move(on_line)) {}

  bool can_seek() const override { return false; }
  bool has_size() const override { return false; }
  std::size_t buffer_size(std::ios_base::openmode) const override { return 0; }
  void set_buffer_size(std::size_t, std::ios_base::openmode) override {}
  std::size_t in_avail() const override { return 0; }
  pos_type getpos(std::ios_base::openmode) const override { return -1; }
  pos_type seekpos(pos_type, std::ios_base::openmode) override { return -1; }
  pos_type seekoff(off_type, std::ios_base::seekdir, std::ios_base::openmode) override {
    return -1;
  }
  bool acquire(std::uint8_t*&, std::size_t&) override { return false; }
  void release(std::uint8_t*, std::size_t) override {}
  const std::string& rest() const { return line_; }

 private:
  pplx::task<int_type> _putc(std::uint8_t byte) override {
    Take(&byte, 1);
    return pplx::task_from_result<int_type>(byte);
  }
  pplx::task<std::size_t> _putn(const std::uint8_t* data, std::size_t size) override {
    Take(data, size);
    return pplx::task_from_result(size);
  }
  pplx::task<int_type> _bumpc() override { return End(); }
  int_type _sbumpc() override { return traits::eof(); }
  pplx::task<int_type> _getc() override { return End(); }
  int_type _sgetc() override { return traits::eof(); }
  pplx::task<int_type> _nextc() override { return End(); }
  pplx::task<int_type> _ungetc() override { return End(); }
  pplx::task<std::size_t> _getn(std::uint8_t*, std::size_t) override {
    return pplx::task_from_result<std::size_t>(0);
  }
  std::size_t _scopy(std::uint8_t*, std::size_t) override { return 0; }
  pplx::task<bool> _sync() override { return pplx::task_from_result(true); }
  std::uint8_t* _alloc(std::size_t) override { return nullptr; }
  void _commit(std::size_t) override {}

  static pplx::task<int_type> End() { return pplx::task_from_result<int_type>(traits::eof()); }

  void Take(const std::uint8_t* data, std::size_t size) {
    std::size_t from = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (data[i] != '\n') continue;
      line_.append(reinterpret_cast<const char*>(data + from), i - from);
      from = i + 1;
      on_line_(std::move(line_));
      line_.clear();
    }
    if (line_.size() + size - from > kLineMax) throw std::runtime_error("watch line is too long");
    line_.append(reinterpret_cast<const char*>(data + from), size - from);
  }

  std::function<void(std::string)> on_line_;
  std::string line_;
};

struct StreamState {
  pplx::cancellation_token_source cancel;
  std::mutex mutex;
  bool over = false;
  std::function<void(std::string)> on_line;
  std::function<void(std::optional<Error>)> on_end;
  int status = 0;
  std::vector<std::string> early;
  std::string error_text;

  // A chunk of the body may come before the continuation that knows the status.
  void Line(std::string line) {
    std::lock_guard lock(mutex);
    if (over) return;
    if (status == 0) early.push_back(std::move(line));
    else Pass(std::move(line));
  }
  void Headers(int code) {
    std::lock_guard lock(mutex);
    status = code;
    for (std::string& line : early) {
      if (!over) Pass(std::move(line));
    }
    early.clear();
  }
  void Pass(std::string line) {
    if (status < 400) on_line(std::move(line));
    else error_text += line;
  }
  void End(std::optional<Error> error) {
    std::lock_guard lock(mutex);
    if (over) return;
    over = true;
    on_end(std::move(error));
  }
};

class CpprestStream final : public WatchStream {
 public:
  explicit CpprestStream(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
  ~CpprestStream() override { Cancel(); }
  void Cancel() override {
    {
      std::lock_guard lock(state_->mutex);
      if (state_->over) return;
      state_->over = true;
    }
    // Cancelling from another thread races the TLS engine: let the pool do it.
    crossplat::threadpool::shared_instance().service().post(
        [state = state_] { state->cancel.cancel(); });
  }

 private:
  std::shared_ptr<StreamState> state_;
};

struct CallState {
  std::mutex mutex;
  std::condition_variable done;
  std::optional<Result<HttpResponse>> result;
  void Set(Result<HttpResponse> value) {
    std::lock_guard lock(mutex);
    if (!result) result = std::move(value);
    done.notify_all();
  }
};

std::int64_t RetryAfterMs(const http::http_response& response) {
  const auto found = response.headers().find("Retry-After");
  if (found == response.headers().end()) return 0;
  return std::strtoll(found->second.c_str(), nullptr, 10) * 1000;
}

Error ErrorOf(const std::exception& error) {
  std::string text = error.what();
  if (text.find("Operation canceled") != std::string::npos) {
    return Error{ErrorCode::kCancelled, text, 0, 0};
  }
  const auto* failure = dynamic_cast<const http::http_exception*>(&error);
  if (failure != nullptr && failure->error_code().value() == 110) {
    return Error{ErrorCode::kDeadlineExceeded, "the API server did not answer in time", 0, 0};
  }
  return Error{ErrorCode::kUnavailable, "the API server cannot be reached: " + text, 0, 0};
}

class CpprestTransport final : public Transport {
 public:
  CpprestTransport(const ClientConfig& config, const Clock& clock)
      : config_(config), clock_(clock),
        calls_(config.server, Options(kCallIdleSeconds)),
        watches_(config.server, Options(kWatchIdleSeconds)) {}

  Result<HttpResponse> Call(const HttpRequest& request) override {
    auto state = std::make_shared<CallState>();
    pplx::cancellation_token_source cancel;
    http::http_request message = Message(request.method, request.path);
    if (!request.body.empty()) message.set_body(request.body, request.content_type);
    try {
      calls_.request(message, cancel.get_token())
          .then([](const http::http_response& response) {
            const int status = response.status_code();
            const std::int64_t retry = RetryAfterMs(response);
            return response.extract_utf8string(true).then([status, retry](std::string body) {
              return HttpResponse{status, std::move(body), retry};
            });
          })
          .then([state](const pplx::task<HttpResponse>& task) {
            try {
              state->Set(task.get());
            } catch (const std::exception& error) {
              state->Set(tl::unexpected<Error>(ErrorOf(error)));
            }
          });
    } catch (const std::exception& error) {
      return tl::unexpected<Error>(ErrorOf(error));
    }
    std::unique_lock lock(state->mutex);
    if (!state->done.wait_for(lock, std::chrono::milliseconds(request.timeout_ms),
                              [&] { return state->result.has_value(); })) {
      crossplat::threadpool::shared_instance().service().post([cancel] { cancel.cancel(); });
      return Fail(ErrorCode::kDeadlineExceeded, "the API server did not answer in time");
    }
    return std::move(*state->result);
  }

  std::unique_ptr<WatchStream> Stream(
      const std::string& path, std::function<void(std::string line)> on_line,
      std::function<void(std::optional<Error> error)> on_end) override {
    auto state = std::make_shared<StreamState>();
    state->on_line = std::move(on_line);
    state->on_end = std::move(on_end);
    auto sink = std::make_shared<LineSink>([state](std::string line) {
      state->Line(std::move(line));
    });
    http::http_request message = Message("GET", path);
    message.set_response_stream(
        concurrency::streams::streambuf<std::uint8_t>(sink).create_ostream());
    try {
      watches_.request(message, state->cancel.get_token())
          .then([state](const http::http_response& response) {
            state->Headers(response.status_code());
            return response.content_ready();
          })
          .then([state, sink](const pplx::task<http::http_response>& task) {
            Finish(*state, *sink, task);
          });
    } catch (const std::exception& error) {
      state->End(ErrorOf(error));
    }
    return std::make_unique<CpprestStream>(state);
  }

 private:
  static void Finish(StreamState& state, const LineSink& sink,
                     const pplx::task<http::http_response>& task) {
    try {
      const http::http_response response = task.get();
      const int status = response.status_code();
      if (status < 400) {
        state.End(std::nullopt);
        return;
      }
      state.End(ErrorOfStatus(status, state.error_text + sink.rest(), RetryAfterMs(response)));
    } catch (const std::exception& error) {
      state.End(ErrorOf(error));
    }
  }

  http::client::http_client_config Options(int idle_seconds) const {
    http::client::http_client_config options;
    options.set_max_redirects(0);
    options.set_timeout(std::chrono::seconds(idle_seconds));
    options.set_validate_certificates(!config_.insecure);
    const ClientConfig config = config_;
    options.set_ssl_context_callback([config](boost::asio::ssl::context& context) {
      boost::system::error_code ignored;
      if (!config.ca_pem.empty()) {
        context.add_certificate_authority(boost::asio::buffer(config.ca_pem), ignored);
      }
      if (!config.client_cert_pem.empty()) {
        context.use_certificate_chain(boost::asio::buffer(config.client_cert_pem), ignored);
        context.use_private_key(boost::asio::buffer(config.client_key_pem),
                                boost::asio::ssl::context::pem, ignored);
      }
    });
    return options;
  }

  http::http_request Message(const std::string& method, const std::string& path) {
    http::http_request message(method);
    message.set_request_uri(web::uri(path));
    message.headers().add("Accept", "application/json");
    message.headers().add("User-Agent", "regroup/" REGROUP_VERSION);
    const std::string token = Token();
    if (!token.empty()) message.headers().add("Authorization", "Bearer " + token);
    return message;
  }

  std::string Token() {
    if (config_.token_file.empty()) return config_.token;
    std::lock_guard lock(token_mutex_);
    if (token_.empty() || clock_.Now() - token_at_ > kTokenAgeMs) {
      Result<std::string> text = ReadFile(config_.token_file);
      if (text) {
        while (!text->empty() && text->back() == '\n') text->pop_back();
        token_ = *text;
        token_at_ = clock_.Now();
      }
    }
    return token_;
  }

  const ClientConfig config_;
  const Clock& clock_;
  HttpClient calls_;
  HttpClient watches_;
  std::mutex token_mutex_;
  std::string token_;
  MonoMs token_at_ = 0;
};

void PrepareProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    // The library reads the system's CA bundle for each new connection; only the cluster's counts.
    setenv("SSL_CERT_FILE", "/dev/null", 1);
    setenv("SSL_CERT_DIR", "/dev/null", 1);
    crossplat::threadpool::initialize_with_threads(1);
  });
}

}  // namespace

Result<std::unique_ptr<Transport>> MakeTransport(const ClientConfig& config, const Clock& clock) {
  PrepareProcess();
  try {
    return std::unique_ptr<Transport>(std::make_unique<CpprestTransport>(config, clock));
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kInvalid, "API server address '" + config.server + "': " + error.what());
  }
}

}  // namespace regroup::kube
