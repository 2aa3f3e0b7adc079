"""The MCP server of a gateway: what each request of the protocol means here. How requests come in: `transports`."""

from __future__ import annotations

from contextlib import aclosing
from importlib.metadata import version
from typing import Any

from mcp import MCPError
from mcp.server import NotificationOptions, Server
from mcp.server.context import ServerRequestContext
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    INVALID_REQUEST,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    NotificationParams,
    PaginatedRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    ToolListChangedNotification,
)

from astromesh_gateway.gateway import Gateway
from astromesh_gateway.mcp.asker import asker_of
from astromesh_gateway.mcp.calls import AgentCalls, Report
from astromesh_gateway.mcp.catalogue import offered, tools
from astromesh_gateway.mcp.changes import changes

_INSTRUCTIONS = (
    "Each tool is an AI agent. Put the whole question or task into `query`: an agent sees nothing of your "
    "conversation. Give the same `session_id` again to go on with a conversation with it."
)

Context = ServerRequestContext[Any, Any]


class AgentServer(Server[Any]):
    """Agents as tools."""

    def __init__(self, gateway: Gateway, calls: AgentCalls) -> None:
        super().__init__(
            "astromesh",
            version=version("astromesh-gateway"),
            title="Astromesh",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listen,
        )
        # Spans are core.telemetry's.
        self.middleware.clear()
        self._gateway = gateway
        self._calls = calls

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """See Server: clients of the older protocol are told that the list may change."""
        told = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(told, experimental_capabilities, extensions)

    async def _list_tools(self, context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        namespace = asker_of(_scope(context)).caller.namespace
        after = params.cursor if params is not None and params.cursor else ""
        page, cursor = tools(offered(self._gateway.directory, namespace), after)
        return ListToolsResult(tools=page, next_cursor=cursor)

    async def _call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        asker = asker_of(_scope(context))
        return await self._calls.call(
            asker, context.request_id, params.name, params.arguments or {}, _report_to(context)
        )

    async def _listen(self, context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Acknowledges first, then tells of each change until the client leaves or the gateway drains."""
        if context.request_id is None:
            raise MCPError(INVALID_REQUEST, "subscriptions/listen needs a request id")
        meta = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        wants_tools = bool(params.notifications.tools_list_changed)
        honored = SubscriptionFilter(tools_list_changed=True if wants_tools else None)
        acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
        namespace = asker_of(_scope(context)).caller.namespace
        async with aclosing(changes(self._gateway, namespace)) as changed:
            await context.session.send_notification(
                SubscriptionsAcknowledgedNotification(params=acknowledged), related_request_id=context.request_id
            )
            async for _ in changed:
                if wants_tools:
                    await context.session.send_notification(
                        ToolListChangedNotification(params=NotificationParams(_meta=meta)),
                        related_request_id=context.request_id,
                    )
        return SubscriptionsListenResult(_meta=meta)


def _scope(context: Context) -> Any:
    """The HTTP request that brought the message."""
    assert context.request is not None
    return context.request.scope


def _report_to(context: Context) -> Report | None:
    """Tells the client how its call goes on, where it asked for that."""
    if context.meta is None or context.meta.get("progress_token") is None:
        return None

    async def report(progress: float, message: str) -> None:
        await context.session.report_progress(progress, message=message)

    return report
