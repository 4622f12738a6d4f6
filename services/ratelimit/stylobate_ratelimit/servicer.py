"""The gRPC face of the ratelimit service."""
# ruff: noqa: N802, ARG002  the names and signatures are the generated ones

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceServicer
from stylobate.clients.limit_groups import AnsweredGroups, AskedGroup
from stylobate.errors import StylobateError
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call
from stylobate.rpc.method import Prompt

from stylobate_ratelimit.ban_convert import from_put, from_subject, to_ban, to_change
from stylobate_ratelimit.ban_list import BanList
from stylobate_ratelimit.ban_manager import BanManager
from stylobate_ratelimit.convert import Levels, from_asked, from_group, to_answered, to_outcome_in, to_rule, to_usage
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.usage_manager import UsageManager


class RateLimitServicer(RateLimitServiceServicer):
    """Checks limits and tells of bans for other services, changes bans for operators."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "CheckLimits": RpcAccess.SERVICE,
        "ListRules": RpcAccess.AUTHENTICATED,
        "GetUsage": RpcAccess.AUTHENTICATED,
        "ResetUsage": RpcAccess.AUTHENTICATED,
        "PutBan": RpcAccess.AUTHENTICATED,
        "DeleteBan": RpcAccess.AUTHENTICATED,
        "GetBan": RpcAccess.AUTHENTICATED,
        "ListBans": RpcAccess.AUTHENTICATED,
        "WatchBans": RpcAccess.SERVICE,
    }

    PROMPT: ClassVar[Mapping[str, Prompt]] = {"CheckLimits": lambda _: True}
    HERE: ClassVar[Mapping[str, str]] = {"CheckLimits": "check_here"}

    def __init__(self, manager: RateLimiterManager, bans: BanManager, ban_list: BanList, usage: UsageManager) -> None:
        self._manager = manager
        self._levels = Levels(manager.rule)
        self._bans = bans
        self._list = ban_list
        self._usage = usage

    async def CheckLimits(self, request: pb.CheckLimitsRequest, context: Any) -> pb.CheckLimitsResponse:
        groups = request.groups
        read = [self._levels.of(group) for group in groups]
        found = await self._manager.check(list(map(from_group, groups, read)))
        response = pb.CheckLimitsResponse(degraded=found.degraded)
        for group, levels, outcome in zip(groups, read, found.groups, strict=True):
            to_outcome_in(response, group, levels, outcome)
        return response

    async def check_here(self, groups: Sequence[AskedGroup]) -> AnsweredGroups | None:
        """Do the same for who is in this process; None: a call tells better what is wrong with it. Nothing is charged then."""
        try:
            read = [self._levels.known(group.key) for group in groups]
            found = await self._manager.check(list(map(from_asked, groups, read)))
        except StylobateError:
            return None
        return AnsweredGroups(list(map(to_answered, groups, read, found.groups)), found.degraded, self._manager.is_spread)

    async def ListRules(self, request: pb.ListRulesRequest, context: Any) -> pb.ListRulesResponse:
        return pb.ListRulesResponse(rules=[to_rule(*found) for found in await self._usage.rules(call().principal)])

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.GetUsageResponse:
        principal = call().principal
        tenant = request.tenant or principal.tenant
        return to_usage(await self._usage.usage(request.rule, request.subject, tenant, principal))

    async def ResetUsage(self, request: pb.ResetUsageRequest, context: Any) -> pb.ResetUsageResponse:
        principal = call().principal
        tenant = request.tenant or principal.tenant
        if not request.idempotency_key:  # then it takes no database
            await self._usage.reset(request.rule, request.subject, tenant, principal)
            return pb.ResetUsageResponse()
        return await self._bans.idempotency.once(
            request,
            principal,
            pb.ResetUsageResponse,
            lambda claim: self._usage.reset(request.rule, request.subject, tenant, principal, claim),
            lambda _: pb.ResetUsageResponse(),
        )

    async def PutBan(self, request: pb.PutBanRequest, context: Any) -> pb.PutBanResponse:
        caller = call()
        ban = from_put(request, caller.principal)
        return await self._bans.idempotency.once(
            request,
            caller.principal,
            pb.PutBanResponse,
            lambda claim: self._bans.put(ban, caller.principal, caller, claim),
            lambda begun: pb.PutBanResponse(ban=to_ban(begun)),
        )

    async def DeleteBan(self, request: pb.DeleteBanRequest, context: Any) -> pb.DeleteBanResponse:
        caller = call()
        subject = from_subject(request.subject, caller.principal)
        return await self._bans.idempotency.once(
            request,
            caller.principal,
            pb.DeleteBanResponse,
            lambda claim: self._bans.lift(subject, caller.principal, caller, claim),
            lambda _: pb.DeleteBanResponse(),
        )

    async def GetBan(self, request: pb.GetBanRequest, context: Any) -> pb.GetBanResponse:
        principal = call().principal
        return pb.GetBanResponse(ban=to_ban(await self._bans.get(from_subject(request.subject, principal), principal)))

    async def ListBans(self, request: pb.ListBansRequest, context: Any) -> pb.ListBansResponse:
        bans, token = await self._bans.list(call().principal, request.level, request.page_size, request.page_token)
        return pb.ListBansResponse(bans=map(to_ban, bans), next_page_token=token)

    async def WatchBans(self, request: pb.WatchBansRequest, context: Any) -> AsyncIterator[pb.WatchBansResponse]:
        async with aclosing(self._list.watch()) as changes:
            async for change in changes:
                yield to_change(change)
