// The rules that protect data, repeated in code because CRD validation can be bypassed (an old CRD,
// a raw write to etcd). The CRD holds the same rules in CEL; a contract test compares the two.
// Thread: pure functions.
#pragma once

#include "operator/base/error.h"
#include "operator/model/replication_group.h"

namespace regroup::model {

// kInvalid with one message that says what to do; nothing running is touched while this fails.
Result<void> ValidateSpec(const GroupMeta& meta, const GroupSpec& spec);
// Changes against what runs: engine and engineVersion may not go down, port and storage are fixed.
Result<void> ValidateChange(const GroupView& running, const GroupSpec& wanted);

}  // namespace regroup::model
