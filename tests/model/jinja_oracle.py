#!/usr/bin/env python3
"""What jinja2, configured as Hugging Face transformers does, makes of every case of jinja_cases.py.

Writes one JSON object a line: {"name", "template", "variables", "expected"}, where "expected" is
null when the template does not compile or raises. With --file, cases come from a file of such
lines instead (used for cases that a test makes itself).
"""

import argparse
import json
import sys
from datetime import datetime

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    """{% generation %} as in transformers' AssistantTracker, without the tracking."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_generation")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    def _generation(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def strftime_now(format):
    return datetime.now().strftime(format)


def make_environment():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


def expected(environment, case):
    variables = {"messages": [], "add_generation_prompt": False, "tools": None, "documents": None}
    variables.update(bos_token="<s>", eos_token="</s>")
    variables.update(case["variables"])
    try:
        text = environment.from_string(case["template"]).render(**variables)
        text.encode()
        return text
    except Exception:  # whatever jinja2 or the template raises is the answer "an error"
        return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--file", help="JSON lines of cases to use instead of the table")
    options = arguments.parse_args()
    if options.file:
        with open(options.file, encoding="utf-8") as lines:
            cases = [json.loads(line) for line in lines]
    else:
        from jinja_cases import all_cases

        cases = all_cases()
    environment = make_environment()
    for case in cases:
        case["expected"] = expected(environment, case)
        json.dump(case, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    main()
