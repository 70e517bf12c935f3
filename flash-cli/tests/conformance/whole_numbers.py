"""Sends whole numbers without a fraction, and no webhooks.

To JSON Schema `5.0` is an integer, and no schema can say otherwise; to serde it is not, and the platform refuses it
before a worker starts. Everything else that fits a schema must be taken.

A webhook is posted to. Made-up addresses of other machines must not be.
"""

import schemathesis


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    case.body = whole(case.body)
    if case.operation.path.startswith("/v2/") and isinstance(case.body, dict):
        case.body.pop("webhook", None)
