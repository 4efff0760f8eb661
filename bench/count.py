"""What a callgrind dump says of N requests: instructions, allocations, and both by crate and by function.

count.py DUMP REQUESTS [FUNCTIONS]   prints both totals, or with FUNCTIONS a table of the so many costliest ones and of crates.
"""

import re
import sys
from collections import Counter

ALLOCATE = re.compile(r"^mi_(theap_|heap_)?(malloc|zalloc|calloc|realloc|rezalloc|recalloc)|^(malloc|calloc|realloc|posix_memalign)$")
CRATE = re.compile(r"/(?:registry/src/[^/]+|git/checkouts/[^/]+)/([a-z0-9_-]+?)-\d+\.\d")
OURS = re.compile(r"/(engine|proxy|translate|controller|cli)/src/|^(engine|proxy|translate|controller|cli)/src/")


def crate(path: str) -> str:
    if found := CRATE.search(path):
        return found[1]
    if found := OURS.search(path):
        return "tollgate-" + (found[1] or found[2])
    if "/rustc/" in path or "/library/" in path:
        return "std"
    return "libc" if path.startswith("./") else "other"


def read(dump: str):
    """Own instructions by (function, file), and calls by (caller, callee)."""
    own: Counter = Counter()
    calls: Counter = Counter()
    names: dict[str, dict[str, str]] = {"fn": {}, "file": {}}

    def name(kind: str, text: str) -> str:
        number, _, rest = text.partition(" ")
        known = names[kind]
        if rest:
            known[number] = rest
        return known.get(number, text)

    function = path = callee = ""
    skip = False
    with open(dump) as lines:
        for line in lines:
            key, equals, value = line.rstrip("\n").partition("=")
            if equals and " " not in key:
                match key:
                    case "fn":
                        function = name("fn", value)
                    case "cfn":
                        callee = name("fn", value)
                    case "fl" | "fi" | "fe":
                        path = name("file", value)
                    case "cfi" | "cfl":
                        name("file", value)
                    case "calls":
                        calls[function, callee] += int(value.split()[0])
                        skip = True
            elif line[:1] in "+-*0123456789" and line.strip():
                if not skip:
                    own[function, path] += int(line.split()[-1])
                skip = False
    return own, calls


def main() -> None:
    dump, requests = sys.argv[1], int(sys.argv[2])
    own, calls = read(dump)
    allocations = sum(
        count for (caller, callee), count in calls.items() if ALLOCATE.match(callee) and not caller.startswith(("mi_", "_mi_"))
    )
    total = sum(own.values())
    if len(sys.argv) < 4:
        print(f"{total / requests:14.0f} {allocations / requests:12.2f}")
        return
    by_crate, by_function = Counter(), Counter()
    for (function, path), count in own.items():
        by_crate[crate(path)] += count
        by_function[function] += count
    for title, table in ("crate", by_crate), ("function", by_function):
        print(f"\ninstructions a request by {title}")
        for what, count in table.most_common(20 if title == "crate" else int(sys.argv[3])):
            print(f"{count / requests:8.0f}  {what[:150]}")


main()
