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


class BanInvalidError(InvalidInputError):
    """A ban that cannot be: of a level that nobody is banned on, of no address, for too long."""

    reason = "BAN_INVALID"
    cure = "The detail says what to change."


class BanNotFoundError(StylobateError):
    """No ban of that subject is in force."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "BAN_NOT_FOUND"
    default_detail = "Nobody by that name is banned."
    cure = "`GET /v1/bans` lists the bans in force. An address is named as limits count it, of IPv6 its /64."
