#include "operator/kube/kubeconfig.h"

#include <yaml-cpp/yaml.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "operator/base/base64.h"

namespace regroup::kube {

namespace {

constexpr char kAccountDir[] = "/var/run/secrets/kubernetes.io/serviceaccount";

std::string Text(const YAML::Node& node, const char* key) {
  return node && node.IsMap() && node[key] && node[key].IsScalar() ? node[key].as<std::string>()
                                                                  : std::string();
}

YAML::Node Named(const YAML::Node& list, const std::string& name, const char* what) {
  if (list && list.IsSequence()) {
    for (const YAML::Node& item : list) {
      if (Text(item, "name") == name) return item[what];
    }
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

// `key-data` holds base64, `key` a path that is relative to the kubeconfig.
Result<std::string> DataOrFile(const YAML::Node& node, const std::string& key,
                               const std::filesystem::path& dir) {
  const std::string data = Text(node, (key + "-data").c_str());
  if (!data.empty()) return DecodeBase64(data);
  const std::string path = Text(node, key.c_str());
  if (path.empty()) return std::string();
  return ReadFile((dir / path).string());
}

Result<ClientConfig> Assemble(const YAML::Node& root, const std::string& wanted,
                              const std::filesystem::path& dir) {
  const std::string name = wanted.empty() ? Text(root, "current-context") : wanted;
  const YAML::Node context = Named(root["contexts"], name, "context");
  if (!context) return Fail(ErrorCode::kInvalid, "kubeconfig: no context '" + name + "'");
  const YAML::Node cluster = Named(root["clusters"], Text(context, "cluster"), "cluster");
  if (!cluster) return Fail(ErrorCode::kInvalid, "kubeconfig: the context's cluster is not there");
  const YAML::Node user = Named(root["users"], Text(context, "user"), "user");
  ClientConfig config;
  config.server = Text(cluster, "server");
  config.tls_server_name = Text(cluster, "tls-server-name");
  config.insecure = Text(cluster, "insecure-skip-tls-verify") == "true";
  config.token = Text(user, "token");
  config.token_file = Text(user, "tokenFile");
  if (user && user["exec"]) {
    return Fail(ErrorCode::kInvalid, "kubeconfig: exec credentials are not supported; use a token "
                "or a client certificate");
  }
  struct Part {
    const YAML::Node* node;
    const char* key;
    std::string* to;
  };
  for (const Part& part : {Part{&cluster, "certificate-authority", &config.ca_pem},
                           Part{&user, "client-certificate", &config.client_cert_pem},
                           Part{&user, "client-key", &config.client_key_pem}}) {
    Result<std::string> text = DataOrFile(*part.node, part.key, dir);
    if (!text) return tl::unexpected<Error>(text.error());
    *part.to = *text;
  }
  return config;
}

}  // namespace

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot read " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Result<ClientConfig> LoadKubeconfig(const std::string& path, const std::string& context) {
  try {
    const YAML::Node root = YAML::LoadFile(path);
    return Assemble(root, context, std::filesystem::path(path).parent_path());
  } catch (const YAML::Exception& error) {
    return Fail(ErrorCode::kInvalid, "kubeconfig " + path + ": " + error.what());
  }
}

Result<ClientConfig> LoadInCluster() {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    return Fail(ErrorCode::kNotFound, "not in a pod: KUBERNETES_SERVICE_HOST is not set; give "
                "--kubeconfig");
  }
  ClientConfig config;
  std::string name = host;
  if (name.find(':') != std::string::npos) name = "kubernetes.default.svc";
  config.server = "https://" + name + ":" + port;
  Result<std::string> ca = ReadFile(std::string(kAccountDir) + "/ca.crt");
  if (!ca) return tl::unexpected<Error>(ca.error());
  config.ca_pem = *ca;
  config.token_file = std::string(kAccountDir) + "/token";
  return config;
}

}  // namespace regroup::kube
