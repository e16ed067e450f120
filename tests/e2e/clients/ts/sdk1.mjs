// A client on the official TypeScript SDK of the legacy era (npm `@modelcontextprotocol/sdk` 1.x).

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { answer, capabilities } from './answers.mjs';
import { converse } from './conversation.mjs';

const schemas = {
    'sampling/createMessage': CreateMessageRequestSchema,
    'elicitation/create': ElicitRequestSchema,
    'roots/list': ListRootsRequestSchema,
};

converse(async ({ url, token, answers_as: name, told }) => {
    const client = new Client({ name: 'fairlead-e2e-sdk1', version: '1' }, { capabilities: capabilities(name) });
    answer(name, (method, handler) => client.setRequestHandler(schemas[method], handler));
    const transport = new StreamableHTTPClientTransport(new URL(url), {
        requestInit: { headers: { Authorization: `Bearer ${token}` } },
    });
    client.fallbackNotificationHandler = async notification => told.add(notification);
    await client.connect(transport);
    return {
        client,
        seen: {
            version: transport.protocolVersion,
            server: client.getServerVersion(),
            capabilities: client.getServerCapabilities(),
        },
        callTool: (params, options) => client.callTool(params, undefined, options),
        page: {
            tools: params => client.listTools(params),
            prompts: params => client.listPrompts(params),
            resources: params => client.listResources(params),
            templates: params => client.listResourceTemplates(params),
        },
        listen: () => null, // the SDK opened the event stream when it connected
        subscribe: uri => client.subscribeResource({ uri }),
        unsubscribe: uri => client.unsubscribeResource({ uri }),
        logLevel: level => client.setLoggingLevel(level),
        async close() {
            await transport.terminateSession().catch(() => {}); // it may have ended by itself
            await client.close();
        },
    };
});
