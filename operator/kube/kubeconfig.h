// Where the API server is and how to prove who we are: from a kubeconfig file or from the pod.
// Thread: pure but for file reads. Errors: kNotFound, kInvalid with what to do.
#pragma once

#include <string>

#include "operator/base/error.h"

namespace regroup::kube {

struct ClientConfig {
  std::string server;           // https://host:port
  std::string ca_pem;
  std::string client_cert_pem;  // with client_key_pem, or a token, or neither
  std::string client_key_pem;
  std::string token;
  std::string token_file;       // read again every minute: service account tokens rotate
  std::string tls_server_name;
  bool insecure = false;
};

// Empty context: the file's current one.
Result<ClientConfig> LoadKubeconfig(const std::string& path, const std::string& context = "");
// The service account's files and the service's address. An IPv6 address becomes the DNS name,
// because the HTTP library cannot dial IPv6 literals.
Result<ClientConfig> LoadInCluster();

Result<std::string> ReadFile(const std::string& path);

}  // namespace regroup::kube
