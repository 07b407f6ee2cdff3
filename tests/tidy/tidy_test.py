#!/usr/bin/python3
"""Each check of tidy.py finds what it is for, and lets the right thing pass."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402


class Files:
    def __init__(self, files):
        self.files = files

    under = tidy.Tree.under


TOP = "// What it is.\n#pragma once\n"
LONG = "void F() {\n" + "  x();\n" * 69 + "}\n"
ROWS = [
    ("up is refused", tidy.check_includes,
     {"operator/model/a.h": '#include "operator/plan/b.h"\n'}, 1),
    ("down passes", tidy.check_includes,
     {"operator/plan/a.h": '#include "operator/model/b.h"\n#include <map>\n'}, 0),
    ("main includes all", tidy.check_includes,
     {"operator/main.cc": '#include "operator/admin/b.h"\n'}, 0),
    ("reconcile does not know admin", tidy.check_includes,
     {"operator/reconcile/a.cc": '#include "operator/admin/b.h"\n'}, 1),
    ("a relative include", tidy.check_includes, {"operator/plan/a.cc": '#include "b.h"\n'}, 1),
    ("cpprest elsewhere", tidy.check_cpprest,
     {"operator/kube/a.cc": "#include <cpprest/http_client.h>\n"}, 1),
    ("cpprest at home", tidy.check_cpprest,
     {"operator/kube/transport_cpprest.cc": "#include <cpprest/http_client.h>\n"}, 0),
    ("asio in kube", tidy.check_asio, {"operator/kube/a.cc": "asio::io_context io;\n"}, 1),
    ("asio in a comment", tidy.check_asio, {"operator/kube/a.cc": "// no asio:: here\n"}, 0),
    ("a clock in plan", tidy.check_clocks,
     {"operator/plan/a.cc": "auto t = std::chrono::steady_clock::now();\n"}, 1),
    ("time(nullptr)", tidy.check_clocks, {"operator/kube/a.cc": "auto t = time(nullptr);\n"}, 1),
    ("a method named time", tidy.check_clocks, {"operator/kube/a.cc": "auto t = x.time(0);\n"}, 0),
    ("a duration is no clock", tidy.check_clocks,
     {"operator/kube/a.cc": "std::chrono::milliseconds(5);\n"}, 0),
    ("a thread in kube", tidy.check_threads, {"operator/kube/a.cc": "std::jthread t;\n"}, 1),
    ("this_thread is none", tidy.check_threads,
     {"operator/kube/a.cc": "std::this_thread::yield();\n"}, 0),
    ("a coroutine in a test", tidy.check_coroutines, {"tests/sim/a.cc": "co_await x;\n"}, 1),
    ("71 lines", tidy.check_function_length, {"operator/plan/a.cc": LONG}, 1),
    ("70 lines", tidy.check_function_length,
     {"operator/plan/a.cc": LONG.replace("  x();\n", "", 1)}, 0),
    ("a long struct is no function", tidy.check_function_length,
     {"operator/plan/a.h": "struct S {\n" + "  int a;\n" * 90 + "};\n"}, 0),
    ("a long method", tidy.check_function_length,
     {"operator/plan/a.h": "struct S {\n" + LONG + "};\n"}, 1),
    ("101 columns", tidy.check_columns, {"operator/plan/a.h": "x" * 101}, 1),
    ("a tab", tidy.check_tabs, {"operator/plan/a.h": "\tint a;\n"}, 1),
    ("a room without a README", tidy.check_readmes, {"operator/plan/a.h": TOP}, 1),
    ("left over", tidy.check_leftovers, {"docs/a.md": "TO" + "DO: write\n"}, 1),
    ("a machine's path", tidy.check_machine_paths, {"docs/a.md": "see /ro" + "ot/x\n"}, 1),
    ("a URL is none", tidy.check_machine_paths, {"docs/a.md": "https://x.dev/wo" + "rk/y\n"}, 0),
    ("a header without a word", tidy.check_headers, {"operator/plan/a.h": "#pragma once\n"}, 1),
    ("a header with one", tidy.check_headers, {"operator/plan/a.h": TOP}, 0),
    ("ARCHITECTURE.md differs", tidy.check_architecture,
     {"ARCHITECTURE.md": "| room | includes |\n|---|---|\n" + "".join(
         f"| `{room}` | {', '.join(f'`{d}`' for d in deps) or 'nothing'} |\n"
         for room, deps in {**tidy.ROOMS, "kube": ["base", "model"]}.items())}, 1),
    ("ARCHITECTURE.md says all", tidy.check_architecture,
     {"ARCHITECTURE.md": "".join(
         f"| `{room}` | {', '.join(deps)} |\n" for room, deps in tidy.ROOMS.items()
         if room not in ("main", "reconcile"))
         + "| `reconcile` | all but admin |\n| `main.cc` | all |\n"}, 0),
    ("ARCHITECTURE.md agrees", tidy.check_architecture,
     {"ARCHITECTURE.md": "| room | includes |\n|---|---|\n" + "".join(
         f"| `{room}/` | {', '.join(f'`{d}`' for d in deps) or 'nothing'} |\n"
         for room, deps in tidy.ROOMS.items())}, 0),
]


def main():
    failed = 0
    for name, check, files, wanted in ROWS:
        found = list(check(Files(files)))
        if len(found) != wanted:
            failed += 1
            print(f"row '{name}': {len(found)} findings instead of {wanted}: {found}")
    print(f"tidy_test: {len(ROWS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
