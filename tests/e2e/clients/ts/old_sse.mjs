// One conversation over HTTP+SSE (2024-11-05) with the official TypeScript SDK of the legacy era:
// `node old_sse.mjs URL TOKEN TOOL TEXT` calls a tool of one argument `text`, then one with progress.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';

const [url, token, tool, text] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const transport = new SSEClientTransport(new URL(url), {
    eventSourceInit: { fetch: (to, init) => fetch(to, { ...init, headers: { ...init.headers, ...headers } }) },
    requestInit: { headers },
});
const client = new Client({ name: 'fairlead-e2e-sse', version: '1' }, { capabilities: {} });
await client.connect(transport);
const { tools } = await client.listTools();
const told = await client.callTool({ name: tool, arguments: { text } });
const steps = [];
const sleep = { name: tool.replace('echo', 'sleep'), arguments: { seconds: 0.2 } };
await client.callTool(sleep, undefined, { onprogress: ({ progress }) => steps.push(progress) });
await client.close();
const names = tools.map(({ name }) => name);
console.log(JSON.stringify({ version: transport._protocolVersion ?? '', tools: names, text: told.content[0].text, steps }));
