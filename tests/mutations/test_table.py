"""The table fits the code as it is: code that moves must take its mutations along."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.harm)
def test_the_old_text_stands_once_in_its_file_and_the_new_one_has_a_meaning(mutation: Mutation) -> None:
    """A syntax error, or a name that is not there, would be caught by any test."""
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    mutated = text.replace(mutation.old, mutation.new)
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(text))
    module = symtable.symtable(mutated, mutation.file, "exec")
    assert set(global_names(module)) <= {*module.get_identifiers(), *dir(builtins)}


def global_names(scope: symtable.SymbolTable) -> Iterator[str]:
    """The names that functions and classes take from their module, or from Python."""
    for inner in scope.get_children():
        yield from [symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()]
        yield from global_names(inner)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.harm)
def test_the_tests_that_are_to_catch_it_exist(mutation: Mutation) -> None:
    """Files, each perhaps with the name of one of its functions."""
    assert mutation.tests
    for test in mutation.tests:
        path, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}" in (ROOT / path).read_text(encoding="utf-8")


def test_each_mutation_has_a_name_of_its_own() -> None:
    """`--only` finds it by that."""
    assert [harm for harm, number in Counter(mutation.harm for mutation in MUTATIONS).items() if number > 1] == []
