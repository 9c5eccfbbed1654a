"""The command line of the training programs, and what explains it.

usage: test_command_line.py COMPLETION CLASSIFIER GPT SURROGATE
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

OPTION = re.compile(r"  (--[a-z0-9-]+)(?:=[A-Z]+)?(?:\s|$)")
CHOICE = re.compile(r" {25}([a-z0-9]+) {2,}\S")


class Failure(Exception):
    pass


def expect(is_so, *what):
    if not is_so:
        raise Failure(" ".join(map(str, what)))


def run(program, *options, folder=None):
    done = subprocess.run([program, *options], cwd=folder, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    expect(done.returncode == 0, program, options, done.returncode,
           done.stdout)
    return done.stdout


def explained(program):
    """{option: words that it may have}, as --help has them."""
    found, option = {}, None
    for line in run(program, "--help").splitlines():
        if OPTION.match(line):
            option = OPTION.match(line).group(1)
            found[option] = []
        elif option and CHOICE.match(line):
            found[option].append(CHOICE.match(line).group(1))
    return found


def complete(completion, program, *words):
    """What bash offers for the last of the words."""
    script = ('. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
              '_libtrain "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    output = subprocess.run(["bash", "-c", script, completion, program,
                             *words], text=True, stdout=subprocess.PIPE,
                            check=True).stdout
    return output.split()


def help_fits(_, *programs):
    """help has at most 80 columns, and a word on each choice"""
    for program in programs:
        text = run(program, "-h")
        wide = [line for line in text.splitlines() if len(line) > 80]
        expect(not wide, wide)
        expect(text == run(program, "--help"), "-h is not --help")
        words = explained(program)
        expect(words["--device"] == ["cpu", "reference", "strict"], words)
        expect("alike in this version" in text, "nothing of --conv")


def completion_is_table(completion, *programs):
    """completion in bash knows the options and words of --help, no others"""
    for program in programs:
        words = explained(program)
        offered = complete(completion, program, "--")
        expect(sorted(offered) == sorted(words), sorted(offered),
               sorted(words))
        for option, choices in words.items():
            if choices:
                for typed in (option, ""), (option, "="), (option, "=", ""):
                    expect(complete(completion, program, *typed) == choices,
                           typed, complete(completion, program, *typed),
                           choices)
    expect(complete(completion, programs[0], "--mod") == ["--model"], "--mod")


def ways_of_writing(_, classifier, *__):
    """values behind = and shortened names are taken"""
    with tempfile.TemporaryDirectory() as folder:
        run(classifier, "--lr=0.125", "--opt", "sgd", "--step=2", "--no-c",
            "--log=log", "--threads", "1", "--", folder=folder)
        with open(os.path.join(folder, "log"), encoding="utf-8") as file:
            log = [json.loads(line) for line in file]
        expect("optimizer sgd" in log[0]["optimizer"], log[0])
        rates = [line["lr"] for line in log if "step" in line]
        expect(rates == [0.125, 0.125], rates)
        expect(os.listdir(folder) == ["log"], os.listdir(folder))


def versions(_, *programs):
    """--version names libtrain and what its results may depend on"""
    for program in programs:
        lines = run(program, "--version").splitlines()
        expect(re.match(r"libtrain \d+\.\d+\.\d+$", lines[0]), lines)
        for name, pattern in (("MPI", r"\S+.*\d"), ("BLAS", r"OpenBLAS \d"),
                              ("HDF5", r"\d+\.\d+\.\d+$"),
                              ("kernels", r"avx512|avx2|plain")):
            expect(any(re.match(name + r": +(?:%s)" % pattern, line)
                       for line in lines), name, lines)


def man_pages(completion, *programs):
    """a man page has every option, and a line for each word"""
    help2man = shutil.which("help2man")
    if help2man is None:
        return "no help2man"
    make = os.path.join(os.path.dirname(completion), "make_man.sh")
    for program in programs:
        with tempfile.TemporaryDirectory() as folder:
            page = os.path.join(folder, "page.1")
            run(make, help2man, program, "0.0.0", "a program", page)
            with open(page, encoding="utf-8") as file:
                text = file.read().replace("\\-", "-")
        for option, words in explained(program).items():
            expect("\n\\fB" + option + "\\fR" in text, option, text)
            for word in words:
                expect("\n.br\n%s  " % word in text, word, text)
    return None


CLAIMS = [help_fits, completion_is_table, ways_of_writing, versions,
          man_pages]


def main():
    paths = [os.path.abspath(path) for path in sys.argv[1:]]
    print("1..%d" % len(CLAIMS))
    failed = 0
    for number, claim in enumerate(CLAIMS, 1):
        try:
            skip = claim(*paths)
            print("ok %d - %s%s" % (number, claim.__doc__,
                                    " # SKIP " + skip if skip else ""),
                  flush=True)
        except Failure as failure:
            failed += 1
            print("not ok %d - %s\n# %s" % (number, claim.__doc__, failure),
                  flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
