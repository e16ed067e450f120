// A client on the official TypeScript SDK of both eras (npm `@modelcontextprotocol/client` 2.x).
// `mode` is 'legacy', 'auto' (probe, then fall back) or a modern version, which is then insisted upon.

import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { answer, capabilities } from './answers.mjs';
import { converse } from './conversation.mjs';

converse(async ({ url, token, mode, answers_as: name, told }) => {
    const client = new Client(
        { name: 'fairlead-e2e-sdk2', version: '1' },
        {
            capabilities: capabilities(name),
            versionNegotiation: { mode: mode === 'legacy' || mode === 'auto' ? mode : { pin: mode } },
        }
    );
    answer(name, (method, handler) => client.setRequestHandler(method, handler));
    const transport = new StreamableHTTPClientTransport(new URL(url), {
        requestInit: { headers: { Authorization: `Bearer ${token}` } },
    });
    client.fallbackNotificationHandler = async notification => told.add(notification);
    await client.connect(transport);
    const modern = client.getProtocolEra() === 'modern';
    const subscriptions = new Map();
    let meta = {}; // goes with every call
    return {
        client,
        seen: {
            version: client.getNegotiatedProtocolVersion(),
            server: client.getServerVersion(),
            capabilities: client.getServerCapabilities(),
        },
        callTool: (params, options) => client.callTool({ ...params, ...meta }, options),
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
        async subscribe(uri) {
            if (!modern) return client.subscribeResource({ uri });
            subscriptions.set(uri, await client.listen({ resourceSubscriptions: [uri] }));
        },
        async unsubscribe(uri) {
            if (!modern) return client.unsubscribeResource({ uri });
            await subscriptions.get(uri).close();
        },
        async logLevel(level) {
            if (!modern) return client.setLoggingLevel(level);
            meta = { _meta: { [LOG_LEVEL_META_KEY]: level } };
        },
        async close() {
            // a session may have ended by itself, the modern era has none
            if (!modern) await transport.terminateSession().catch(() => {});
            await client.close();
        },
    };
});
