// What is answered to whom, and the server around it on a loopback port.
#include "operator/admin/server.h"

#include <thread>

#include <gtest/gtest.h>

#include "operator/base/metrics.h"

namespace regroup::admin {
namespace {

Handlers Some() {
  Handlers handlers;
  handlers.healthy = [] { return Health{true, "ok"}; };
  handlers.ready = [] { return Health{false, "the caches are not filled yet"}; };
  handlers.metrics = [] { return std::string("regroup_leader 1\n"); };
  return handlers;
}

TEST(Answer, Rows) {
  struct Row {
    const char* method;
    const char* target;
    int status;
    const char* body;
  };
  for (const Row& row : {Row{"GET", "/healthz", 200, "ok\n"},
                         Row{"GET", "/readyz", 503, "the caches are not filled yet\n"},
                         Row{"GET", "/readyz?verbose", 503, "the caches are not filled yet\n"},
                         Row{"GET", "/metrics", 200, "regroup_leader 1\n"},
                         Row{"POST", "/metrics", 405, "only GET is served\n"},
                         Row{"PUT", "/failpoint?name=x", 405, "only GET is served\n"},
                         Row{"GET", "/../etc/passwd", 404,
                             "there are /healthz, /readyz and /metrics\n"}}) {
    const Response response = Answer(Some(), row.method, row.target);
    EXPECT_EQ(response.status, row.status) << row.method << " " << row.target;
    EXPECT_EQ(response.body, row.body) << row.method << " " << row.target;
  }
}

TEST(Answer, AFailpointIsArmedOnlyWhereItIsEnabled) {
  std::string armed;
  Handlers handlers = Some();
  handlers.failpoint = [&](const std::string& name) { armed = name; };
  EXPECT_EQ(Answer(handlers, "PUT", "/failpoint?name=after-record").status, 200);
  EXPECT_EQ(armed, "after-record");
  EXPECT_EQ(Answer(handlers, "PUT", "/failpoint").status, 400);
}

class Live : public testing::Test {
 protected:
  Live() : server_(io_, Some()) {
    EXPECT_TRUE(server_.Listen("127.0.0.1", 0).has_value());
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Live() override {
    server_.Stop();
    io_.stop();
    thread_.join();
  }
  std::string Ask(const std::string& request) {
    asio::io_context io;
    asio::ip::tcp::socket socket(io);
    socket.connect({asio::ip::make_address("127.0.0.1"), server_.port()});
    asio::write(socket, asio::buffer(request));
    std::string answer;
    asio::error_code error;
    asio::read(socket, asio::dynamic_buffer(answer), error);
    return answer;
  }
  asio::io_context io_{1};
  Server server_;
  std::thread thread_;
};

TEST_F(Live, AnswersAndCloses) {
  const std::string answer = Ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(answer.rfind("HTTP/1.1 200 OK\r\n", 0), 0U) << answer;
  EXPECT_NE(answer.find("\r\nContent-Length: 17\r\n"), std::string::npos) << answer;
  EXPECT_NE(answer.find("\r\n\r\nregroup_leader 1\n"), std::string::npos) << answer;
}

TEST_F(Live, RefusesWhatIsNoRequestAndWhatIsTooLong) {
  EXPECT_EQ(Ask("nonsense\r\n\r\n").rfind("HTTP/1.1 400 ", 0), 0U);
  EXPECT_EQ(Ask(std::string(20'000, 'x') + "\r\n\r\n").find("200 OK"), std::string::npos);
  EXPECT_EQ(Ask("GET /healthz HTTP/1.1\r\n\r\n").rfind("HTTP/1.1 200 OK", 0), 0U)
      << "the next one is served";
}

TEST(Listen, AnAddressThatCannotBeHadIsSaid) {
  asio::io_context io;
  Server server(io, Some());
  const Result<void> result = server.Listen("203.0.113.9", 8080);
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().message.find("--admin-address"), std::string::npos);
}

TEST(Metrics, NamesLabelsAndRemoval) {
  Metrics metrics;
  metrics.CountApiCall("get", 200, 3);
  metrics.CountFailover("shop/web-cache", "PrimaryProcessDied", 41);
  GroupFigures figures;
  figures.epoch = 7;
  metrics.SetGroup("shop/web-cache", figures);
  std::string text = metrics.Text();
  for (const char* line :
       {"regroup_api_calls_total{code=\"200\",verb=\"get\"} 1",
        "regroup_group_epoch{group=\"web-cache\",namespace=\"shop\"} 7",
        "regroup_failovers_total{group=\"web-cache\",namespace=\"shop\",reason="
        "\"PrimaryProcessDied\"} 1"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
  metrics.RemoveGroup("shop/web-cache");
  text = metrics.Text();
  EXPECT_EQ(text.find("regroup_group_epoch{"), std::string::npos);
}

}  // namespace
}  // namespace regroup::admin
