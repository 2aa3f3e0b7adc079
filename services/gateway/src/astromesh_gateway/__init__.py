"""HTTP, SSE, WebSocket, gRPC and OpenAI surfaces."""
