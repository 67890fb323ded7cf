#!/usr/bin/env python3
"""Random schemas and random texts that their grammars admit, judged by Python's jsonschema; with --suite FOLDER also
the cases of the JSON Schema Test Suite (draft 2020-12). Every text must be valid, no text may come to a dead end, and
a schema with an unknown keyword must be refused by its name.

usage: check_grammar.py GRAMMAR_WALK MODEL.gguf [--schemas N] [--paths N] [--suite FOLDER]"""
import argparse
import json
import pathlib
import random
import subprocess

import jsonschema

KNOWN = {
    "title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated", "readOnly",
    "writeOnly", "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "nullable", "properties", "required",
    "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum"}
SUITE = ["additionalProperties", "allOf", "anyOf", "boolean_schema", "const", "default", "enum", "exclusiveMaximum", "exclusiveMinimum",
         "items", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern", "prefixItems", "properties", "ref",
         "required", "type", "not", "uniqueItems", "contains", "patternProperties", "propertyNames", "multipleOf", "if-then-else",
         "dependentRequired", "dependentSchemas", "minProperties", "maxProperties", "unevaluatedItems", "unevaluatedProperties"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4"]


class Walker:
    def __init__(self, program, model):
        self.process = subprocess.Popen([program, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"grammar_walk ended at {line}"
        return json.loads(answer)


def draw_number(r, kind):
    schema = {"type": kind}
    low = r.choice([-100, -3, -1, 0, 1, 7, 98, 1000, -0.5, 0.25, 1.75])
    if r.random() < .6:
        schema[r.choice(["minimum", "exclusiveMinimum"])] = low
    if r.random() < .6:
        schema[r.choice(["maximum", "exclusiveMaximum"])] = low + r.choice([2, 3, 10, 999, 2.5])
    return schema


def draw_string(r):
    kind = r.randrange(4)
    if kind == 0:
        return {"type": "string"}
    if kind == 1:
        low = r.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + r.randrange(9)}
    if kind == 2:
        return {"type": "string", "pattern": r.choice(["^[a-z]+$", "x", "^\\d{2,4}(-[A-F]|\\.)?$", "^a|b$", "\\w\\s\\W", "[^\"\\\\]{3}"])}
    return {"type": "string", "format": r.choice(FORMATS)}


def draw(r, depth):
    """A schema; objects and arrays stop at a depth."""
    kind = r.randrange(11 if depth < 3 else 6)
    if kind == 0:
        return r.choice([True, {"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}, {}])
    if kind == 1:
        return {"enum": r.sample([1, 2.5, "a", "b\"c", None, True, [1, "é"], {"k": 0}], r.randrange(1, 5))}
    if kind == 2:
        return {"const": r.choice(["x", 7, False, [], {"a": ["b"]}])}
    if kind == 3:
        return draw_number(r, r.choice(["integer", "number"]))
    if kind in (4, 5):
        return draw_string(r)
    if kind == 6:
        return {"anyOf": [draw(r, depth + 1) for _ in range(r.randrange(1, 4))]}
    if kind == 7:
        schema = {"type": "array", "items": draw(r, depth + 1), "minItems": r.randrange(3)}
        if r.random() < .5:
            schema["maxItems"] = schema["minItems"] + r.randrange(4)
        return schema
    if kind == 8:
        return {"type": "array", "prefixItems": [draw(r, depth + 1) for _ in range(r.randrange(1, 4))],
                "items": r.choice([False, draw(r, depth + 1)]), "minItems": r.randrange(4)}
    names = r.sample(["a", "ab", "abc", "name", "é", "x y", "q\"", "z"], r.randrange(1, 6))
    schema = {"type": "object", "properties": {name: draw(r, depth + 1) for name in names},
              "required": [name for name in names if r.random() < .5]}
    if r.random() < .4:
        schema["additionalProperties"] = draw(r, depth + 1)
    if kind == 10:
        schema["$defs"] = {"again": schema["properties"].pop(names[0])}
        schema["properties"]["again"] = {"$ref": "#/$defs/again"}
        schema["required"] = [name for name in schema["required"] if name != names[0]]
        return {"properties": {"s": schema["properties"]["again"]}, "$defs": schema["$defs"]} if depth == 0 else draw_string(r)
    return schema


def is_valid(schema, value):
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker).is_valid(value)



def check_random(walker, n_schemas, n_paths):
    counts = {}
    for i in range(n_schemas):
        schema = draw(random.Random(i), 0)
        for path in range(n_paths):
            answer = walker.ask(schema=schema, seed=i * 1000 + path)
            result = answer.get("error") or answer["end"]
            counts[result] = counts.get(result, 0) + 1
            if result == "ended":
                value = json.loads(answer["text"])
                assert is_valid(schema, value), f"schema {i}: {json.dumps(schema)} does not accept {answer['text']}"
            elif result == "format":  # nothing matches
                assert "no text matches" in answer["message"], (i, schema, answer)
                break
            else:
                assert result == "unfinished", f"schema {i}: {json.dumps(schema)}: {answer}"
    print("random schemas:", n_schemas, counts)


def unknown_keyword(schema):
    """Whether the schema has a keyword, somewhere, that is not enforced."""
    if not isinstance(schema, dict):
        return None
    for name, value in schema.items():
        if name not in KNOWN:
            return name
        inner = []
        if name in ("properties",):
            inner = list(value.values())
        elif name in ("anyOf", "oneOf", "allOf", "prefixItems"):
            inner = value
        elif name in ("items", "additionalProperties"):
            inner = [value]
        for part in inner:
            if (found := unknown_keyword(part)):
                return found
    return None


def check_suite(walker, folder):
    counts = {"admitted": 0, "valid but not admitted": 0, "refused texts": 0, "refused schemas": 0, "refused for other reasons": 0}
    for name in SUITE:
        for group in json.loads((folder / f"{name}.json").read_text()):
            schema = group["schema"]
            texts = [json.dumps(test["data"], ensure_ascii=False) for test in group["tests"]]
            answer = walker.ask(schema=schema, texts=texts)
            unknown = unknown_keyword(schema)
            if "error" in answer:
                if unknown and unknown in answer["message"]:
                    counts["refused schemas"] += 1
                else:
                    counts["refused for other reasons"] += 1
                    print(f"  {name}: {group['description']}: {answer['message']}")
                continue
            assert not unknown, f"{name}: {group['description']}: '{unknown}' was not refused"
            for test, match in zip(group["tests"], answer["matches"]):
                assert not match or test["valid"], f"{name}: {group['description']}: admits {test['data']!r}"
                key = "admitted" if match else "valid but not admitted" if test["valid"] else "refused texts"
                counts[key] += 1
            for seed in range(3):
                walk = walker.ask(schema=schema, seed=seed)
                assert walk["end"] in ("ended", "unfinished"), (name, group["description"], walk)
                if walk["end"] == "ended":
                    assert is_valid(schema, json.loads(walk["text"])), (name, group["description"], walk["text"])
    print("suite:", counts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("walk")
    parser.add_argument("model")
    parser.add_argument("--schemas", type=int, default=1000)
    parser.add_argument("--paths", type=int, default=1)
    parser.add_argument("--suite", type=pathlib.Path)
    args = parser.parse_args()
    walker = Walker(args.walk, args.model)
    if args.suite:
        check_suite(walker, args.suite)
    check_random(walker, args.schemas, args.paths)


if __name__ == "__main__":
    main()
