// Seeds that once found a hole, by the name of what they found; each must be clean on every build.
// A seed names a schedule of this simulator: a change of its models or of the operator's timing may
// lead an old one past what it found, so each hole has a test of the planner or a row of the rules'
// table (ARCHITECTURE.md), too.
#include <gtest/gtest.h>

#include "operator/base/log.h"
#include "tests/sim/runner.h"

namespace regroup::sim {
namespace {

struct Found {
  const char* what;
  std::uint64_t seed;
};

constexpr Found kFound[] = {
    {"AReplicaSyncsFromADemotedMembersAddress", 113},
    {"AnOldStatusProvesADeathThatWasNone", 51},
    {"APodDeletedByForceWhileNoOperatorRan", 11},
    {"FencedForACandidateThatWasNotInSync", 54},
    {"HistoryRenamedByTheFirstReplica", 375},
    {"HistoryRenamedByTheFirstReplicaAgain", 1217},
    {"OldDetachesOfAPausedLeader", 97},
    {"NobodyCutsTheClientsAfterALeadersChange", 26},
    {"TwoProcessesOnOneVolume", 79},
    {"AMemberThatNobodyMakes", 49},
    {"TheLeavingMemberIsReadLater", 12},
    {"AStoreSetBackForAShortWhile", 38},
    {"WipedWhileTheWriterWasCutOff", 98},
    {"WipedWhileTheWriterWasCutOff2", 427},
    {"WipedWhileTheWriterWasCutOff3", 453},
    {"ReplicasTakenFromAPrimaryThatTheyHear", 855},
    {"ReplicasTakenFromAPrimaryThatTheyHearAgain", 996},
    {"AJoiningMemberThatRestarted", 1391},
    {"ClientsOnAnAddressThatIsUsedAgain", 19},
    {"ClientsOnAnAddressThatIsUsedAgain2", 671},
    {"ClientsOnAnAddressThatIsUsedAgain3", 798},
    {"AWatchThatLagsNamesADeadProcess", 861},
    {"AHealthyReplicaThatShowsTwoSeconds", 1835},
    {"MadeSmallerWhileItsPrimaryIsLost", 102},
    {"AnEndpointWithoutAZone", 906},
    {"TheRecordSaysGuardedTheEngineDoesNot", 9277},
    {"TheRecordSaysGuardedTheEngineDoesNotAgain", 11146},
    {"AReplicaFilledAfterItsLastInfo", 2955},
    {"AReplicaFilledAfterItsLastInfoAgain", 4108},
    {"AGroupThatWaitsForEver", 1117},
    {"AGroupThatWaitsForEverAgain", 1860},
    {"TheHeirWasDeletedByForce", 9655},
    {"ALeaderThatStoodStillDeletesTheGranted", 6221},
    {"SuspectsTakenFromAPrimaryThatTheyFollow", 6925},
    {"StartedEmptyBesideItsWriter", 4324},
    {"TwoLeadersAdoptTwoMembers", 3302},
    {"TwoLeadersAdoptTwoMembersAgain", 5220},
    {"APowerCutBeforeTheFirstSyncOfItsFile", 1330},
    {"AGroupMadeAnewOnOldAddresses", 885},
    {"AdoptedOnAnInfoOfBeforeTheFence", 11061},
    {"BornWithTheHashOfAnEditedPassword", 3484},
    {"BornWithTheHashOfAnEditedPassword2", 10096},
    {"BornWithTheHashOfAnEditedPassword3", 484},
    {"AClientLeftOnAPodMadeAnew", 2125},
    {"AnEarlierProcessOfAMemberHadEnded", 5672},
    {"TwoOperatorsWithTwoPasswords", 1412},
    {"TwoOperatorsWithTwoPasswords2", 2653},
    {"TwoOperatorsWithTwoPasswords3", 2976},
    {"TwoOperatorsWithTwoPasswords4", 3464},
    {"AScriptTakenForAHang", 269},
    {"AScriptTakenForAHang2", 2085},
    {"AScriptTakenForAHang3", 4295},
    {"AHangEndedTooEarly", 2140},
    {"AScriptInAProcessThatNoOperatorHasReached", 16291},
    {"TakenBeforeItsReplicaWasAskedAgain", 24845},
    {"TheStoreHoldsADeletionAgain", 18434},
    {"TheStoreHoldsADeletionAgain2", 39071},
    {"LookedAtWhileTheRoleMoves", 182},
    {"ASecretEditedWhileNoProcessRuns", 9949},
    {"ASecretEditedWhileNoProcessRuns2", 20733},
    {"ASecretEditedBeforeTheOtherOneSawTheGroup", 22592},
    {"ARemovalSentByALeaderThatStoodStill", 11355},
    {"ASilentWatchShowsMembersAsUnplaced", 13496},
    {"ASilentWatchLacksTheHolder", 27474},
    {"TwoFreezesTakenForOneHang", 29476},
    {"TwoFreezesTakenForOneHang2", 29875},
    {"AnAddressOfANamesakesEndpoint", 35421},
    {"AKubeletThatCouldNotSayThatItRuns", 4569},
    {"AHolderDeletedByForceBesideAWipedRecord", 12461},
    {"AnEmptyPrimaryOverHoldersOfAnUnknownHistory", 13203},
};

class Regression : public testing::TestWithParam<Found> {};

TEST_P(Regression, StaysClean) {
  SetLogLevel(LogLevel::kError);
  const SeedResult result = RunSeed(GetParam().seed, {});
  EXPECT_GT(result.events, 0U);
  for (const auto& violation : result.violations) {
    ADD_FAILURE() << "./dev sim --seed " << GetParam().seed << " --trace   " << violation.rule
                  << ": " << violation.text;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Regression, testing::ValuesIn(kFound),
                         [](const auto& found) { return std::string(found.param.what); });

}  // namespace
}  // namespace regroup::sim
