"""Errors of the ratelimit service."""

import grpc
from stylobate.errors import InvalidInputError, StylobateError


class LimitInvalidError(InvalidInputError):
    """A check that makes no sense: a limit of nothing, a subject that is missing, a cost beyond the limit."""

    reason = "LIMIT_INVALID"
    cure = "The detail says what to change; it is a fault of the calling service or of a declared limit."


class LimitRuleUnknownError(StylobateError):
    """A rule that this service does not know by name."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "LIMIT_RULE_UNKNOWN"
    cure = "Known rules are those of the ratelimit service's settings, such as `edge.ip`; bring any other limit along."
