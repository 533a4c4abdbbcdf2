#!/usr/bin/env python3
"""Checks the dependency law (docs/architecture.md): which folder may include which.

    tests/dependency_law.py [ROOT]        checks the tree at ROOT (default: this one)
    tests/dependency_law.py --self-test   shows on small trees that each kind of breach is found

Two places must obey it: the #include lines of every source, and the DEPENDS list of every folder's
CMakeLists.txt. Exit status: 0, or 1 with one line a breach.
"""

import pathlib
import re
import sys
import tempfile
import unittest

# The folders that each folder may use, besides itself.
LAW = {
    "base": set(),
    "kernels": {"base"},
    "comm": {"base", "kernels"},
    "model": {"base", "kernels"},
    "shard": {"base", "kernels", "comm", "model"},
    "coordinator": {"base", "kernels", "comm", "model"},
    "gateway": {"base", "comm"},
    "launch": {"base", "kernels", "comm", "model", "shard", "coordinator", "gateway"},
}
SOURCES = {".h", ".cc", ".cu", ".cuh"}

# Angle brackets too: the root of the tree is on the include path.
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
LIBRARY = re.compile(r"lockstep_(?:cuda_)?library\s*\(\s*(\w+)([^)]*)\)")
# A folder's CUDA bodies are a target of their own.
LINKED = re.compile(r"\blockstep_(" + "|".join(LAW) + r")(?:_cuda)?\b")


def without_comments(text):
    """The text of a CMake file with its comments blanked, line by line."""
    return re.sub(r"#[^\n]*", "", text)


def used_by_source(source, root):
    """Yields (line number, folder of the project, what is written) for each #include of a source."""
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match[1]
        if name.startswith("."):  # relative to the file: where does it lead?
            target = (source.parent / name).resolve()
            name = str(target.relative_to(root)) if target.is_relative_to(root) else name
        first = name.split("/")[0]
        if "/" in name and first in LAW:
            yield number, first, line.strip()


def used_by_cmake(text):
    """Yields (line number, folder, what is written) for each folder that a CMakeLists.txt uses."""
    text = without_comments(text)
    for call in LIBRARY.finditer(text):
        line = text.count("\n", 0, call.start()) + 1
        words = call[2].split()
        keyword = None
        for word in words:
            if word in ("DEPENDS", "LINKS"):
                keyword = word
            elif keyword == "DEPENDS":
                yield line, word.removesuffix("_cuda"), f"DEPENDS {word}"
    for linked in LINKED.finditer(text):  # a target named outright
        yield text.count("\n", 0, linked.start()) + 1, linked[1], linked[0]


def breaches(root):
    """All breaches of the law in the tree at `root`, one line of text each."""
    root = pathlib.Path(root).resolve()
    found = []
    for folder, allowed in LAW.items():
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in SOURCES:
                used = used_by_source(file, root)
            elif file.name == "CMakeLists.txt":
                used = used_by_cmake(file.read_text(encoding="utf-8"))
            else:
                continue
            for line, other, written in used:
                if other != folder and other not in allowed:
                    found.append(f"{file.relative_to(root)}:{line}: {written}: "
                                 f"{folder}/ may use only {', '.join(sorted(allowed)) or 'itself'}")
    return found


class DependencyLaw(unittest.TestCase):
    def breaches_of(self, files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return breaches(root)

    def test_accepts_what_the_law_allows(self):
        self.assertEqual([], self.breaches_of({
            "shard/a.cc": '#include "shard/a.h"\n#include <vector>\n#include "comm/message.h"\n',
            "coordinator/b.h": '#include "base/error.h"\n#include "model/config.h"\n',
            "launch/CMakeLists.txt": "lockstep_library(launch DEPENDS shard gateway LINKS z)\n",
            "shard/CMakeLists.txt": "# not DEPENDS coordinator\nlockstep_library(shard DEPENDS comm)",
            "tests/any.cc": '#include "coordinator/b.h"\n#include "shard/a.h"\n'}))

    def test_finds_every_pair_that_is_not_allowed(self):
        for folder, allowed in LAW.items():
            for other in LAW.keys() - allowed - {folder}:
                found = self.breaches_of({f"{folder}/x.cc": f'\n#include "{other}/y.h"\n'})
                self.assertEqual(1, len(found), (folder, other))
                self.assertTrue(found[0].startswith(f'{folder}/x.cc:2: #include "{other}/y.h"'))

    def test_finds_other_spellings_of_an_include(self):
        for line in ("#include <shard/a.h>", "  #  include \"shard/a.h\"",
                     '#include "../shard/a.h"'):
            self.assertEqual(1, len(self.breaches_of({"coordinator/x.h": line})), line)

    def test_finds_it_in_a_folder_below_and_in_cuda_sources(self):
        for name in ("kernels/cuda/x.cu", "kernels/cuda/x.cuh", "kernels/cpu/x.h"):
            self.assertEqual(1, len(self.breaches_of({name: '#include "comm/message.h"'})), name)

    def test_finds_a_dependency_in_cmake(self):
        for text in ("lockstep_library(coordinator\n  DEPENDS base shard LINKS x)",
                     "target_link_libraries(lockstep_coordinator PRIVATE lockstep_shard)",
                     "lockstep_cuda_library(coordinator DEPENDS shard_cuda LINKS x)",
                     "target_link_libraries(lockstep_coordinator PRIVATE lockstep_shard_cuda)"):
            found = self.breaches_of({"coordinator/CMakeLists.txt": text})
            self.assertEqual(1, len(found), text)
            self.assertIn("coordinator/CMakeLists.txt:1:", found[0])

    def test_leaves_other_libraries_alone(self):
        self.assertEqual([], self.breaches_of({
            "gateway/CMakeLists.txt": "lockstep_library(gateway DEPENDS base LINKS shard)",
            "gateway/x.cc": "#include <model.h>\n// #include \"shard/a.h\"\n"}))


def main(arguments):
    if arguments == ["--self-test"]:
        unittest.main(argv=[sys.argv[0]])
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parents[1])
    missing = [folder for folder in LAW if not (root / folder).is_dir()]
    found = [f"{root}: no folder {folder}/" for folder in missing] + breaches(root)
    print("\n".join(found) if found else "the dependency law holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
