// The INFO reply as a value. Pure and bounded: an engine may be hostile (a tenant owns its image).
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "operator/base/error.h"

namespace regroup::redis {

struct InfoReplica {
  std::string address;
  int port = 0;
  bool online = false;
  std::int64_t offset = 0;
  std::int64_t lag_seconds = 0;
  bool operator==(const InfoReplica&) const = default;
};

struct Info {
  std::string run_id;
  std::string version;                    // redis_version, or valkey_version where there is one
  std::int64_t uptime_seconds = 0;
  bool is_primary = false;
  std::string repl_id;
  std::string repl_id2;
  std::int64_t offset = 0;                // master_repl_offset; of a replica slave_repl_offset
  std::int64_t second_repl_offset = -1;
  std::string primary_host;
  int primary_port = 0;
  bool link_up = false;
  std::int64_t last_io_seconds = -1;
  std::int64_t link_down_seconds = -1;
  std::int64_t read_offset = 0;           // slave_read_repl_offset
  bool sync_in_progress = false;
  bool loading = false;
  bool disk_failed = false;               // aof_last_write_status is not ok
  bool guard_on = false;                  // min_slaves_good_slaves is present
  std::int64_t good_replicas = 0;
  std::int64_t keys = 0;                  // sum over dbN:keys=
  std::int64_t used_memory_bytes = 0;
  std::vector<InfoReplica> replicas;      // at most 64 are kept
  bool operator==(const Info&) const = default;
};

// kInvalid when there is no run_id or no role, or the text exceeds 1 MiB.
Result<Info> ParseInfo(std::string_view text);

}  // namespace regroup::redis
