#!/usr/bin/python3
"""The rules of the house that a compiler does not know.

Prints one line a finding (file:line: what, and what to do) and exits 1 on any. The closing line
counts checks: "tidy: N passed, N failed". Usage: tidy.py [ROOT]
"""

import os
import re
import subprocess
import sys

# room -> the rooms that it may include (its own is always allowed). ARCHITECTURE.md has the same
# table, and check_architecture compares the two.
ROOMS = {
    "base": [],
    "model": ["base"],
    "plan": ["model", "base"],
    "render": ["model", "base"],
    "kube": ["base"],
    "redis": ["base"],
    "admin": ["base"],
    "runtime": ["kube", "base"],
    "reconcile": ["base", "model", "plan", "render", "kube", "redis", "runtime"],
    "main": ["base", "model", "plan", "render", "kube", "redis", "runtime", "reconcile", "admin"],
}

FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
CPP = (".h", ".cc")
TEXT = CPP + (".py", ".md", ".cmake", ".txt", ".yaml", ".yml", ".json", ".sh", ".go", ".tpl")
COLUMNS = CPP + (".cmake",)


class Tree:
    """The tracked and the new files of a checkout, with their text."""

    def __init__(self, root):
        self.root = root
        self.files = {}
        for path in self._names():
            full = os.path.join(root, path)
            if not os.path.isfile(full) or os.path.islink(full):
                continue
            with open(full, "rb") as handle:
                data = handle.read()
            if b"\0" not in data[:8000]:
                self.files[path] = data.decode("utf-8", "replace")

    def _names(self):
        git = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", self.root, "ls-files", "-co",
             "--exclude-standard"],
            capture_output=True, text=True, check=False)
        if git.returncode == 0:
            return [name for name in git.stdout.splitlines() if name]
        names = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [f for f in folders if f not in (".git", "build", "__pycache__")]
            names += [os.path.relpath(os.path.join(folder, f), self.root) for f in files]
        return sorted(names)

    def under(self, folder, endings=CPP):
        return {p: t for p, t in sorted(self.files.items())
                if p.startswith(folder) and p.endswith(endings)}


def strip_comments(text):
    """Comments and literals become blanks; lines stay where they are."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    pattern = (r'R"\w*\(.*?\)\w*"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
               r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'")
    return re.sub(pattern, blank, text, flags=re.S)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def room_of(path):
    parts = path.split("/")
    return "main" if parts[1].startswith("main.") else parts[1]


def check_includes(tree):
    for path, text in tree.under("operator/").items():
        room = room_of(path)
        if room not in ROOMS:
            yield f"{path}:1: room '{room}' is not in the table of tests/tidy/tidy.py"
            continue
        for match in re.finditer(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
            name, line = match.group(1), line_of(text, match.start())
            if not name.startswith("operator/"):
                yield f"{path}:{line}: include \"{name}\" from the root, as \"operator/…\""
                continue
            other = room_of(name)
            if other != room and other not in ROOMS[room]:
                yield (f"{path}:{line}: room {room} may not include room {other}; "
                       f"it may include {', '.join(ROOMS[room]) or 'nothing'}")


def check_architecture(tree):
    """A row of ARCHITECTURE.md's table of rooms: | `room` | … `base`, `model` … |"""
    text = tree.files.get("ARCHITECTURE.md")
    if text is None:
        return
    rows = {}
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        room = re.fullmatch(r"`?(?:operator/)?([a-z]+)(?:/|\.cc)?`?", cells[0])
        if not line.strip().startswith("|") or not room or room.group(1) not in ROOMS:
            continue
        for cell in cells[1:]:
            words = [w for w in re.split(r"[\s,`]+", cell) if w]
            if cell in ("nothing", "none", "-", "–", "—"):
                words = []
            if words[:1] == ["all"]:  # "all", or "all but admin"
                words = [r for r in ROOMS if r not in words[2:] + ["main", room.group(1)]]
            if all(word in ROOMS for word in words) and room.group(1) not in rows:
                rows[room.group(1)] = (number, sorted(words))
    if not rows:
        return
    for room, allowed in ROOMS.items():
        if room not in rows:
            yield f"ARCHITECTURE.md:1: the table of includes lacks the room {room}"
        elif rows[room][1] != sorted(allowed):
            yield (f"ARCHITECTURE.md:{rows[room][0]}: {room} may include {rows[room][1]} there, "
                   f"but {sorted(allowed)} in tests/tidy/tidy.py; make them agree")


def ban(tree, pattern, allowed, why, folders=("operator/",), raw=False):
    for folder in folders:
        for path, text in tree.under(folder).items():
            if any(path.startswith(prefix) for prefix in allowed):
                continue
            code = text if raw else strip_comments(text)
            for match in re.finditer(pattern, code, re.M):
                yield f"{path}:{line_of(code, match.start())}: {match.group(0).strip()}: {why}"


def check_cpprest(tree):
    pattern = r"#\s*include\s*<(?:cpprest|pplx)/[^>]*>|\bpplx::|\butility::conversions|\bweb::\w+"
    return ban(tree, pattern, ["operator/kube/transport_cpprest.cc"],
               "cpprestsdk is known to operator/kube/transport_cpprest.cc alone", raw=True)


def check_asio(tree):
    return ban(tree, r"#\s*include\s*<asio[^>]*>|\basio::",
               ["operator/redis/", "operator/admin/", "operator/main.cc",
                # cpprestsdk hands its TLS context out as an Asio one.
                "operator/kube/transport_cpprest.cc"],
               "Asio is for redis, admin and main.cc")


def check_clocks(tree):
    pattern = (r"\b(?:system_clock|steady_clock|high_resolution_clock)::now|\bclock_gettime\s*\("
               r"|\bgettimeofday\s*\(|(?<![\w.:>])(?:std::)?time\s*\(\s*(?:nullptr|NULL|0|&)")
    return ban(tree, pattern, ["operator/base/"], "clocks are read in base only; take a Clock")


def check_threads(tree):
    return ban(tree, r"\bstd::(?:j?thread\b(?!::)|async\b)|\bpthread_create\b",
               ["operator/runtime/", "operator/main.cc"],
               "threads are started in runtime and main.cc only")


def check_coroutines(tree):
    return ban(tree, r"\bco_(?:await|return|yield)\b|#\s*include\s*<coroutine>|\bstd::coroutine_",
               [], "no coroutines: g++ 12.2 miscompiles them", ("operator/", "tests/"))


def functions(code):
    """(line, length, head) of each function body: a brace after ')' that is no control flow."""
    stack = []
    for match in re.finditer(r"[{}]", code):
        if match.group(0) == "{":
            before = code[max(0, match.start() - 600):match.start()].rstrip()
            head = re.split(r"[;{}]", before)[-1].strip()
            control = re.match(r"(?:else\s+)?(?:if|for|while|switch|do|else|try|catch)\b", head)
            scope = re.match(r"(?:namespace|struct|class|enum|union|extern)\b", head)
            is_function = ")" in head and not control and not scope and "=" not in head[:1]
            lambda_or_value = head.endswith("=") or re.search(r"=\s*\[", head)
            stack.append((match.start(), is_function and not lambda_or_value, head))
        elif stack:
            start, is_function, head = stack.pop()
            inner = any(outer[1] for outer in stack)
            if is_function and not inner:
                first = line_of(code, start)
                yield first, line_of(code, match.start()) - first + 1, head.split("\n")[0]


def check_function_length(tree):
    for folder in ("operator/", "tests/sim/"):
        for path, text in tree.under(folder).items():
            for line, length, head in functions(strip_comments(text)):
                if length > FUNCTION_LINES_MAX:
                    yield (f"{path}:{line}: a function of {length} lines ({head[:50]}); "
                           f"{FUNCTION_LINES_MAX} at most: give its parts names")


def check_columns(tree):
    for path, text in sorted(tree.files.items()):
        if not path.endswith(COLUMNS) and not path.endswith("CMakeLists.txt"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > COLUMNS_MAX:
                yield f"{path}:{number}: {len(line)} columns; {COLUMNS_MAX} at most"


def check_tabs(tree):
    for path, text in sorted(tree.files.items()):
        if not path.endswith(COLUMNS + (".py", ".sh", ".yaml", ".yml", ".json")):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if "\t" in line:
                yield f"{path}:{number}: a tab; use spaces"


def check_readmes(tree):
    rooms = sorted({room_of(p) for p in tree.under("operator/") if p.count("/") > 1})
    for room in rooms:
        if f"operator/{room}/README.md" not in tree.files:
            yield f"operator/{room}/README.md:1: missing; say what goes in, what comes out"


def check_leftovers(tree):
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XXX)\b")
    for path, text in sorted(tree.files.items()):
        if not path.endswith(TEXT) or path.startswith("tests/tidy/"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if marks.search(line):
                yield f"{path}:{number}: left over: {line.strip()[:60]}; do it or say why not"


def check_machine_paths(tree):
    paths = re.compile(r"(?<![\w.$}~-])/(?:ro" + r"ot|wo" + r"rk|home/\w+)/[\w.]")
    for path, text in sorted(tree.files.items()):
        if path.startswith("tests/tidy/"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = paths.search(line)
            if match:
                yield f"{path}:{number}: a path of one machine: {match.group(0)}…"


def check_headers(tree):
    for path, text in {**tree.under("operator/", (".h",)), **tree.under("tests/", (".h",))}.items():
        if not text.startswith("//"):
            yield f"{path}:1: no comment at the top: say what it is for, and its threads"
        elif "#pragma once" not in text:
            yield f"{path}:1: no #pragma once"


CHECKS = [check_includes, check_architecture, check_cpprest, check_asio, check_clocks,
          check_threads, check_coroutines, check_function_length, check_columns, check_tabs,
          check_readmes, check_leftovers, check_machine_paths, check_headers]


def main(argv):
    here = os.path.dirname(os.path.abspath(__file__))
    tree = Tree(argv[1] if len(argv) > 1 else os.path.join(here, "..", ".."))
    failed = 0
    for check in CHECKS:
        findings = list(check(tree))
        for finding in findings:
            print(finding)
        failed += 1 if findings else 0
    print(f"tidy: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
