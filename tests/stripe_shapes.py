"""Whether an object is one that the official SDK describes: its classes are generated from Stripe's own specification of
the API, and say of each member what it may be.

It judges what is there: a member that Stripe does not have, or one of another type or with a word that Stripe does not use.
What is left out is nobody's loss who does not read it, and is not judged.
"""

import decimal
import typing

import stripe
from stripe._list_object import ListObject
from stripe._object_classes import get_object_class
from stripe._stripe_object import StripeObject, UntypedStripeObject

# Members that Stripe still sends and no longer describes.
NOT_DESCRIBED = {"charge": {"destination", "dispute", "order"}, "product": {"attributes"}}


def differences(value, where=None):
    """What of an object, as JSON, is not as the SDK describes objects of its kind: a sentence each."""
    found = []
    kind = get_object_class("V1", value["object"])
    judge(value, kind, where or value["object"], found)
    return found


def judge(value, expected, where, found):
    """Adds to `found` where a value is not what a type of the SDK says."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is typing.Union:
        judge_union(value, arguments, where, found)
    elif origin is typing.Literal:
        expect(value in arguments, value, f"one of {', '.join(map(repr, arguments))}", where, found)
    elif origin in (list, typing.Sequence):
        judge_list(value, arguments[0], where, found)
    elif origin is ListObject:
        judge_page(value, arguments[0], where, found)
    elif origin in (dict, UntypedStripeObject):
        judge_mapping(value, arguments[-1], where, found)
    elif expected is typing.Any:
        pass
    elif isinstance(expected, (str, typing.ForwardRef)):
        judge_reference(value, where, found)
    elif expected in (int, bool, str, float, decimal.Decimal):
        judge_plain(value, expected, where, found)
    elif isinstance(expected, type) and issubclass(expected, StripeObject):
        judge_object(value, expected, where, found)
    else:
        found.append(f"{where}: nobody knows how to judge {expected!r}")


def expect(holds, value, what, where, found):
    if not holds:
        found.append(f"{where} is {value!r:.80}, not {what}")


def judge_union(value, branches, where, found):
    """A word of a list that may grow is a union of its literals and `str`; the list as it is today is what counts."""
    words = [word for branch in branches if typing.get_origin(branch) is typing.Literal for word in typing.get_args(branch)]
    if words and isinstance(value, str):
        expect(value in words, value, f"one of {', '.join(map(repr, words))}", where, found)
        return
    tried = []
    for branch in branches:
        if branch is type(None):
            if value is None:
                return
            continue
        wrong = []
        judge(value, branch, where, wrong)
        if not wrong:
            return
        tried.append(wrong)
    # The branch that came closest is the one to tell of: the members of an object say more than that it is no text.
    found.extend(max(tried, key=lambda wrong: (any(line.startswith(f"{where}.") for line in wrong), -len(wrong))))


def judge_plain(value, expected, where, found):
    if expected is decimal.Decimal:
        expect(isinstance(value, str) and is_decimal(value), value, "a decimal number as text", where, found)
    elif expected is float:
        expect(isinstance(value, (int, float)) and not isinstance(value, bool), value, "a number", where, found)
    elif expected is int:
        expect(isinstance(value, int) and not isinstance(value, bool), value, "a whole number", where, found)
    else:
        expect(isinstance(value, expected), value, expected.__name__, where, found)


def is_decimal(text):
    try:
        decimal.Decimal(text)
    except decimal.InvalidOperation:
        return False
    return True


def judge_list(value, of, where, found):
    if not isinstance(value, list):
        expect(False, value, "a list", where, found)
        return
    for number, one in enumerate(value):
        judge(one, of, f"{where}[{number}]", found)


def judge_page(value, of, where, found):
    if not isinstance(value, dict) or value.get("object") != "list":
        expect(False, value, "a page of a list", where, found)
        return
    judge_list(value.get("data"), of, f"{where}.data", found)
    judge_plain(value.get("has_more"), bool, f"{where}.has_more", found)
    judge_plain(value.get("url"), str, f"{where}.url", found)


def judge_mapping(value, of, where, found):
    if not isinstance(value, dict):
        expect(False, value, "an object", where, found)
        return
    for key, one in value.items():
        judge(one, of, f"{where}.{key}", found)


def judge_reference(value, where, found):
    """Another object, which says itself what it is."""
    if not isinstance(value, dict):
        expect(False, value, "an object", where, found)
        return
    judge_object(value, get_object_class("V1", value.get("object", "")), where, found)


def judge_object(value, kind, where, found):
    if not isinstance(value, dict):
        expect(False, value, f"a {kind.__name__}", where, found)
        return
    members = described(kind)
    silent = NOT_DESCRIBED.get(getattr(kind, "OBJECT_NAME", None), set())
    for name, member in value.items():
        if name in members:
            judge(member, members[name], f"{where}.{name}", found)
        elif name not in silent and not (name == "deleted" and member is True):
            found.append(f"{where}.{name} is no member of {kind.__name__}: {member!r:.80}")


    if kind is stripe.Event and "object" in value.get("data", {}):
        # Whatever it is about.
        judge_reference(value["data"]["object"], f"{where}.data.object", found)


def described(kind):
    """The members of a class of the SDK, under the names that they have in JSON."""
    members = {}
    for one in reversed(kind.__mro__):
        renamed = {ours: theirs for theirs, ours in getattr(one, "_field_remappings", {}).items()}
        for name, member in vars(one).get("__annotations__", {}).items():
            is_internal = name.startswith("_") or typing.get_origin(member) is typing.ClassVar
            if not is_internal:
                members[renamed.get(name, name)] = member
    return members


if __name__ == "__main__":
    # It must not be blind: a good object, and one with a mistake of each kind.
    price = {"id": "price_1", "object": "price", "active": True, "unit_amount": 5, "unit_amount_decimal": "5", "type": "recurring"}
    assert differences(price) == [], differences(price)
    for name, wrong in [
        ("active", "yes"),
        ("unit_amount", "5"),
        ("unit_amount", True),
        ("unit_amount_decimal", 5),
        ("type", "sometimes"),
        ("amount", 5),
        ("metadata", {"a": 1}),
        ("recurring", {"interval": "fortnight"}),
        ("product", {"object": "product", "colour": "red"}),
    ]:
        assert len(differences({**price, name: wrong})) == 1, (name, differences({**price, name: wrong}))
    about = {"id": "evt_1", "object": "event", "data": {"object": {**price, "colour": "red"}}}
    assert len(differences(about)) == 1, differences(about)
    print(f"the SDK {stripe.VERSION} describes what it is asked for")
