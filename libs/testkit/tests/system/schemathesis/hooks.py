"""What JSON Schema has no words for: such data is made good, or is not sent as good data.

Bad data is left as it is.
"""

import re
import time

import requests
import schemathesis
from schemathesis.generation import GenerationMode


# As the document has it.
IF_MATCH = r'\*|"[1-9][0-9]{0,17}"'

send = requests.adapters.HTTPAdapter.send


def send_for_beginning(self, request, **options):
    """A stream of events has no end: how it begins is what is looked at."""
    response = send(self, request, **options)
    if response.headers.get("Content-Type") == "text/event-stream":
        response._content = next(response.raw.stream(), b"")
        response._content_consumed = True
        response.raw.close()
    return response


requests.adapters.HTTPAdapter.send = send_for_beginning


def is_good(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


@schemathesis.hook
def map_case(context, case):
    if is_good(case) and isinstance(case.body, dict):
        body = case.body
        # An alert ends in the future.
        if isinstance(body.get("expires_at"), (int, float)):
            body["expires_at"] = max(body["expires_at"], int(time.time() * 1000) + 3_600_000)
        # The lower bound is the lower one.
        bounds = (body.get("lower_price"), body.get("upper_price"))
        if all(isinstance(bound, (int, float)) and bound > 0 for bound in bounds):
            body["lower_price"], body["upper_price"] = min(bounds), max(bounds)
    if is_good(case) and case.query:
        # A cursor is what an answer gave, and nothing else.
        case.query.pop("cursor", None)
        # Which alerts: of these states, or active ones.
        if case.query.get("status"):
            case.query.pop("active_only", None)
    return case


@schemathesis.hook
def filter_case(context, case):
    if not is_good(case):
        # An empty parameter is one that is absent, and of several the first counts, both as in the
        # original: that is no bad data.
        values = [*(case.query or {}).values(), *(case.headers or {}).values()]
        firsts = [value[0] if isinstance(value, list) and value else value for value in values]
        return "" not in firsts
    # The coverage phase makes headers of letters and digits alone, whatever the pattern says: no id of
    # an event is, and no version. Other phases follow the pattern.
    headers = case.headers or {}
    if "_" not in headers.get("Last-Event-ID", "_"):
        return False
    if not re.fullmatch(IF_MATCH, headers.get("If-Match", "*")):
        return False
    # Schemas count the characters of a symbol, and a symbol its bytes.
    texts = [
        (case.path_parameters or {}).get("symbol"),
        (case.query or {}).get("symbol"),
        case.body.get("symbol") if isinstance(case.body, dict) else None,
    ]
    texts += ((case.query or {}).get("symbols") or "").split(",")
    if any(isinstance(text, str) and len(text.encode()) > 64 for text in texts):
        return False
    if isinstance(case.body, dict):
        body = case.body
        # Two prices that are the same are no range, and one that is narrow has no room for
        # hysteresis.
        lower, upper = body.get("lower_price"), body.get("upper_price")
        if lower and lower == upper:
            return False
        repeat = body.get("repeat")
        if body.get("condition") == "LEAVES_RANGE" and isinstance(repeat, dict):
            return not repeat.get("hysteresis_percent")
    return True
