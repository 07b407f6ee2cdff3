#include "operator/redis/member_link.h"

namespace regroup::redis {

namespace {

constexpr std::int64_t kOverdueMs = 150;  // an INFO without a reply for so long is worth a look
constexpr std::int64_t kInfoDeadlineMs = 3000; // then a fresh connection is tried
constexpr char kBusyRun[] = "busy";
std::uint64_t next_token = 1;                  // the Asio thread only

}  // namespace

MemberLink::MemberLink(asio::io_context& io, const Clock& clock, Target target,
                       SharedCredentials credentials, Pace pace, Hooks hooks)
    : io_(io), clock_(clock), target_(std::move(target)), credentials_(std::move(credentials)),
      pace_(pace), hooks_(std::move(hooks)), timer_(io), overdue_timer_(io) {}

ConnectionOptions MemberLink::OptionsFor(bool control, std::int64_t timeout_ms) const {
  ConnectionOptions options;
  options.address = target_.address;
  options.port = target_.port;
  options.user = control ? credentials_->control_user : credentials_->watch_user;
  options.password = control ? credentials_->control_password : credentials_->watch_password;
  options.tls = credentials_->tls;
  options.ca_pem = credentials_->ca_pem;
  options.connect_timeout_ms = timeout_ms;
  return options;
}

void MemberLink::CountPace(bool in) {
  const std::size_t one = in ? 1 : static_cast<std::size_t>(-1);
  if (pace_ == Pace::kSuspect) hooks_.fast->suspect += one;
  if (pace_ == Pace::kUrgent) hooks_.fast->urgent += one;
}

void MemberLink::Start() {
  CountPace(true);
  OpenWatch();
}

void MemberLink::Stop() {
  CountPace(false);
  stopped_ = true;
  timer_.cancel();
  overdue_timer_.cancel();
  for (auto* connection : {&watch_, &idle_, &control_}) {
    if (*connection) (*connection)->Close();
    connection->reset();
  }
}

void MemberLink::OpenWatch() {
  if (stopped_) return;
  auto self = shared_from_this();
  Connection::Events events;
  events.on_open = [self] {
    self->failures_ = 0;
    self->Ask();
    if (!self->idle_) self->OpenIdle();
  };
  events.on_end = [self](Ended how) { self->OnWatchEnded(how); };
  events.on_bytes = [self] {
    self->Change([&](MemberFacts& facts) { return facts.last_heard = self->clock_.Now(); });
  };
  asked_at_ = clock_.Now();
  watch_ = std::make_shared<Connection>(io_, OptionsFor(false, 1000), std::move(events));
  watch_->Open();
}

void MemberLink::OpenIdle() {
  if (stopped_) return;
  auto self = shared_from_this();
  Connection::Events events;
  events.on_end = [self](Ended how) { self->OnIdleEnded(how); };
  idle_ = std::make_shared<Connection>(io_, OptionsFor(false, 1000), std::move(events));
  idle_->Open();
}

void MemberLink::OnIdleEnded(Ended how) {
  const bool was_open = idle_ != nullptr;
  idle_.reset();
  if (stopped_ || !was_open) return;
  if (how == Ended::kFin || how == Ended::kReset) {
    const MonoMs now = clock_.Now();
    Tell(Change([&](MemberFacts& facts) { return redis::OnIdleEnded(facts, how, now); }));
    // The watching connection may have been refused before this end came, which then is no proof.
    if (!watch_) Poke();
  }
}

void MemberLink::OnWatchEnded(Ended how) {
  const bool had_opened = failures_ == 0 && facts().reach == Reach::kAnswering;
  watch_.reset();
  if (stopped_) return;
  const MonoMs now = clock_.Now();
  Tell(Change([&](MemberFacts& facts) {
    return how == Ended::kTimeout ? OnReach(facts, Reach::kSilent, now)
                                  : OnConnectFailed(facts, how, now);
  }));
  ++failures_;
  // A lost connection is tried again at once: a refusal is the second half of the proof.
  const bool at_once = had_opened && (how == Ended::kFin || how == Ended::kReset);
  Schedule(at_once ? 0 : ReconnectDelayMs(pace_, failures_));
}

void MemberLink::Schedule(std::int64_t delay_ms) {
  if (stopped_) return;
  timer_.expires_after(std::chrono::milliseconds(delay_ms));
  timer_.async_wait([self = shared_from_this()](const asio::error_code& cancelled) {
    if (!cancelled && !self->stopped_) self->Tick();
  });
}

void MemberLink::Tick() {
  if (!watch_) OpenWatch();
  else if (watch_->open() && !watch_->waiting()) Ask();
  if (watch_ && watch_->open() && !idle_) OpenIdle();
}

void MemberLink::Ask() {
  if (!watch_ || !watch_->open() || watch_->waiting()) return;
  asked_at_ = clock_.Now();
  overdue_told_ = false;
  auto self = shared_from_this();
  static const std::string kAsk =
      EncodeCommand({"INFO", "server", "persistence", "replication", "keyspace"});
  watch_->Send(kAsk, 1, kInfoDeadlineMs,
               [self](Result<std::vector<Reply>> replies) {
                 self->OnInfoReply(std::move(replies));
               });
  CheckOverdue();
}

// While a reply is owed: is it the host or the process that is silent?
void MemberLink::CheckOverdue() {
  overdue_timer_.expires_after(std::chrono::milliseconds(kOverdueMs));
  overdue_timer_.async_wait([self = shared_from_this()](const asio::error_code& cancelled) {
    if (cancelled || self->stopped_ || !self->watch_ || !self->watch_->waiting()) return;
    const std::int64_t owed_ms = self->clock_.Now() - self->asked_at_;
    const std::int64_t unacked_ms = self->watch_->UnacknowledgedMs();
    Wake wake{!self->overdue_told_, true};
    self->overdue_told_ = true;
    const bool gone = unacked_ms >= kUnackedGoneMs;
    if (gone || (unacked_ms == 0 && owed_ms >= kSilentMs)) {
      const Reach now_is = gone ? Reach::kUnreachable : Reach::kSilent;
      const Wake reach = self->Change(
          [&](MemberFacts& facts) { return OnReach(facts, now_is, self->clock_.Now()); });
      wake.wake = wake.wake || reach.wake;
    }
    self->Tell(wake);
    self->CheckOverdue();
  });
}

void MemberLink::OnInfoReply(Result<std::vector<Reply>> replies) {
  if (stopped_) return;
  overdue_timer_.cancel();
  if (!replies) return;  // OnWatchEnded follows
  const Reply& reply = replies->front();
  const MonoMs now = clock_.Now();
  if (reply.is_error) {
    Change([&](MemberFacts& facts) {
      facts.busy = reply.text.rfind("BUSY", 0) == 0;
      facts.last_heard = now;
    });
  } else if (Result<Info> info = ParseInfo(reply.text)) {
    Wake wake = Change([&](MemberFacts& facts) { return OnInfo(facts, *info, now); });
    // While something is going on each answer ends a wait.
    if (pace_ != Pace::kRest) wake.wake = true;
    Tell(wake);
  }
  Schedule(UntilAskedMs(pace_, now, std::hash<std::string>()(target_.uid), *hooks_.fast));
}

void MemberLink::Tell(const Wake& wake) {
  if (wake.wake) hooks_.wake(wake.urgent);
}

void MemberLink::SetPace(Pace pace) {
  if (pace_ == pace) return;
  const bool faster = PollIntervalMs(pace) < PollIntervalMs(pace_);
  CountPace(false);
  pace_ = pace;
  CountPace(true);
  if (faster) Poke();
}

void MemberLink::Poke() {
  if (stopped_) return;
  if (!watch_) {
    timer_.cancel();
    OpenWatch();
  } else {
    Ask();
  }
}

void MemberLink::Prepare(std::int64_t timeout_ms, SessionFn done) {
  if (control_ && control_->open()) {
    done(Session{target_.uid, control_token_});
    return;
  }
  if (control_) DropControl();
  const std::uint64_t token = next_token++;
  auto self = shared_from_this();
  auto told = std::make_shared<bool>(false);
  SessionFn once = [told, done = std::move(done)](Result<Session> result) {
    if (*told) return;
    *told = true;
    done(std::move(result));
  };
  Connection::Events events;
  control_ = std::make_shared<Connection>(io_, OptionsFor(true, timeout_ms), Connection::Events{});
  std::weak_ptr<Connection> weak = control_;
  events.on_open = [self, weak, token, timeout_ms, once] {
    const std::shared_ptr<Connection> control = weak.lock();
    if (!control) return;
    control->Send(EncodeCommand({"INFO", "server"}), 1, timeout_ms,
                  [self, control, token, once](Result<std::vector<Reply>> replies) {
                    self->FinishPrepare(control, token, once, std::move(replies));
                  });
  };
  events.on_end = [self, token, once](Ended how) {
    if (self->control_token_ == token) self->ForgetControl();
    once(how == Ended::kDenied
             ? Result<Session>(Fail(ErrorCode::kForbidden, "the engine refused our credentials"))
             : Result<Session>(Fail(ErrorCode::kUnavailable, "no control connection")));
  };
  control_->SetEvents(std::move(events));
  control_->Open();
}

void MemberLink::FinishPrepare(const std::shared_ptr<Connection>& control, std::uint64_t token,
                               const SessionFn& done, Result<std::vector<Reply>> replies) {
  if (!replies) {
    done(tl::unexpected<Error>(replies.error()));
    return;
  }
  const std::string& text = replies->front().text;
  const std::size_t at = text.find("run_id:");
  // A busy engine names nothing; all that it is ever sent is its end.
  const bool busy = replies->front().is_error && text.rfind("BUSY", 0) == 0;
  const bool named = !replies->front().is_error && at != std::string::npos;
  if (control != control_ || (!busy && !named)) {
    done(Fail(ErrorCode::kUnavailable, "the engine did not name its run"));
    return;
  }
  control_run_id_ = busy ? kBusyRun : text.substr(at + 7, text.find('\r', at) - at - 7);
  control_token_ = token;
  Change([&](MemberFacts& facts) { return facts.control_token = token; });
  done(Session{target_.uid, token});
}

void MemberLink::Execute(const Command& command, std::int64_t timeout_ms, CommandFn done) {
  if (!control_ || !control_->open() || command.session.token != control_token_ ||
      control_token_ == 0) {
    done(Fail(ErrorCode::kConflict, "the control connection is not the one that was prepared"));
    return;
  }
  const bool meant = command.expected_run_id.empty() ||
                     command.expected_run_id == control_run_id_ ||
                     (command.alone && control_run_id_ == kBusyRun);
  if (!meant) {
    DropControl();
    done(Fail(ErrorCode::kConflict, "another process answers there"));
    return;
  }
  if (command.alone) {
    ExecuteAlone(command.transaction.front(), timeout_ms, std::move(done));
    return;
  }
  std::string bytes = EncodeCommand({"MULTI"});
  for (const auto& words : command.transaction) bytes += EncodeCommand(words);
  bytes += EncodeCommand({"EXEC"});
  auto self = shared_from_this();
  control_->Send(bytes, command.transaction.size() + 2, timeout_ms,
                 [self, done, token = control_token_](Result<std::vector<Reply>> replies) {
                   if (!replies) {
                     done(tl::unexpected<Error>(replies.error()));
                     return;
                   }
                   CommandReply answer;
                   answer.answered_at = self->clock_.Now();
                   answer.token = token;
                   const Reply& exec = replies->back();
                   if (!exec.is_array) answer.replies.push_back("-" + exec.text);
                   for (const Reply& reply : exec.elements) {
                     answer.replies.push_back((reply.is_error ? "-" : "") + reply.text);
                   }
                   for (const Reply& reply : *replies) {
                     if (!exec.is_array && reply.is_error) {
                       answer.replies.push_back("-" + reply.text);
                     }
                   }
                   self->Ask();  // the watching side sees the change at once
                   done(std::move(answer));
                 });
}

// The end of the connection is the answer that was hoped for.
void MemberLink::ExecuteAlone(const std::vector<std::string>& words, std::int64_t timeout_ms,
                              CommandFn done) {
  control_->Send(EncodeCommand(words), 1, timeout_ms,
                 [self = shared_from_this(), done](Result<std::vector<Reply>> replies) {
                   CommandReply answer;
                   answer.answered_at = self->clock_.Now();
                   if (replies) {
                     const Reply& reply = replies->front();
                     answer.replies = {(reply.is_error ? "-" : "") + reply.text};
                   } else if (replies.error().code == ErrorCode::kUnavailable) {
                     answer.replies = {"the connection ended"};
                   } else {
                     done(tl::unexpected<Error>(replies.error()));
                     return;
                   }
                   done(std::move(answer));
                 });
}

void MemberLink::DropControl() {
  if (control_) control_->Close();
  control_.reset();
  ForgetControl();
}

void MemberLink::ForgetControl() {
  control_token_ = 0;
  Change([](MemberFacts& facts) { return facts.control_token = 0; });
}

}  // namespace regroup::redis
