#include "tests/bench/scale/farm_client.h"

#include <algorithm>

#include "operator/render/acl.h"

namespace regroup::bench {
namespace {

std::string Upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string Bulk(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

std::string Encoded(const std::string& reply) {
  if (!reply.empty() && reply.front() == '-') return reply + "\r\n";
  return reply == "OK" ? "+OK\r\n" : Bulk(reply);
}

}  // namespace

FarmClient::FarmClient(asio::ip::tcp::socket socket, sim::Engine* engine, const InfoText* info)
    : socket_(std::move(socket)), engine_(engine), info_(info) {
  asio::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

void FarmClient::Start(Hooks hooks) {
  hooks_ = std::move(hooks);
  Read();
}

void FarmClient::Close() {
  if (closed_) return;
  closed_ = true;
  if (control_ != 0) engine_->CloseControl(control_);
  asio::error_code ignored;
  socket_.close(ignored);
  hooks_ = {};
}

void FarmClient::Read() {
  socket_.async_read_some(asio::buffer(buffer_), [self = shared_from_this()](
                                                     const asio::error_code& error,
                                                     std::size_t size) {
    if (self->closed_) return;
    if (!error) return self->OnRead(size);
    const std::function<void()> closed = self->hooks_.closed;
    self->Close();
    closed();
  });
}

void FarmClient::OnRead(std::size_t size) {
  const bool readable = decoder_.Feed({buffer_.data(), size}).has_value();
  while (readable && !closed_) {
    Result<std::optional<redis::Reply>> request = decoder_.Next();
    if (!request || !request->has_value()) break;
    std::vector<std::string> words;
    for (const redis::Reply& word : (*request)->elements) words.push_back(word.text);
    if (!words.empty()) Run(words);
  }
  if (closed_) return;
  Write();
  Read();
}

void FarmClient::Run(const std::vector<std::string>& words) {
  hooks_.before();
  const std::string verb = Upper(words[0]);
  if (verb == "AUTH" && words.size() == 3) {
    authenticated_ = true;
    // The farm has no passwords to compare with; the fleet's contract tests have a real engine.
    if (words[1] == render::kOperatorUser && control_ == 0) control_ = engine_->OpenControl();
    out_ += "+OK\r\n";
  } else if (!authenticated_) {
    out_ += "-NOAUTH Authentication required.\r\n";
  } else if (verb == "MULTI") {
    in_transaction_ = true;
    out_ += "+OK\r\n";
  } else if (verb == "EXEC") {
    RunTransaction();
  } else if (in_transaction_) {
    queued_.push_back(words);
    out_ += "+QUEUED\r\n";
  } else {
    out_ += Encoded(One(words));
  }
}

std::string FarmClient::One(const std::vector<std::string>& words) {
  if (Upper(words[0]) == "INFO") return info_->Of(*engine_, words);
  return engine_->Transaction(control_, {words}).front();
}

void FarmClient::RunTransaction() {
  in_transaction_ = false;
  std::vector<std::vector<std::string>> body;
  body.swap(queued_);
  std::string answer = "*" + std::to_string(body.size()) + "\r\n";
  for (const auto& words : body) answer += Encoded(One(words));
  out_ += answer;
  if (!closed_) hooks_.changed();
}

void FarmClient::Write() {
  if (!writing_.empty() || out_.empty() || closed_) return;
  writing_.swap(out_);
  asio::async_write(socket_, asio::buffer(writing_),
                    [self = shared_from_this()](const asio::error_code&, std::size_t) {
                      self->writing_.clear();
                      self->Write();
                    });
}

}  // namespace regroup::bench
