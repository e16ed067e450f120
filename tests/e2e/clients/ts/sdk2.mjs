// A client on the official TypeScript SDK of both eras (npm `@modelcontextprotocol/client` 2.x).
// `mode` is 'legacy', 'auto' (probe, then fall back) or a modern version, which is then insisted upon.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { converse } from './conversation.mjs';

converse(async ({ url, token, mode, told }) => {
    const client = new Client(
        { name: 'fairlead-e2e-sdk2', version: '1' },
        { versionNegotiation: { mode: mode === 'legacy' || mode === 'auto' ? mode : { pin: mode } } }
    );
    const transport = new StreamableHTTPClientTransport(new URL(url), {
        requestInit: { headers: { Authorization: `Bearer ${token}` } },
    });
    client.fallbackNotificationHandler = async notification => told.add(notification);
    await client.connect(transport);
    const modern = client.getProtocolEra() === 'modern';
    return {
        client,
        seen: {
            version: client.getNegotiatedProtocolVersion(),
            server: client.getServerVersion(),
            capabilities: client.getServerCapabilities(),
        },
        callTool: (params, options) => client.callTool(params, options),
        page: {
            tools: params => client.listTools(params),
            prompts: params => client.listPrompts(params),
            resources: params => client.listResources(params),
            templates: params => client.listResourceTemplates(params),
        },
        async listen() {
            if (!modern) return; // the SDK opened the event stream when it connected
            await client.listen({ toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true });
        },
        async close() {
            // a session may have ended by itself, the modern era has none
            if (!modern) await transport.terminateSession().catch(() => {});
            await client.close();
        },
    };
});
