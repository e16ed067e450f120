// The TypeScript side of the conversation that ../conversation.py describes: JSON lines in, JSON lines out.

import { createInterface } from 'node:readline';

class Notifications {
    #all = [];
    #waiting = [];

    add(notification) {
        this.#all.push(notification);
        this.#waiting.splice(0).forEach(wake => wake());
    }

    async waitFor(method) {
        while (!this.#all.some(one => one.method === method)) {
            await new Promise(wake => this.#waiting.push(wake));
        }
        return this.#all.splice(0);
    }
}

const lists = { tools: 'tools', prompts: 'prompts', resources: 'resources', templates: 'resourceTemplates' };

// What both SDKs do alike. `callTool` takes (params, options); `page` asks for one page of a list.
function verbs({ client, told, callTool, page, listen, subscribe, unsubscribe, logLevel }) {
    return {
        async list({ what }) {
            const items = [];
            let cursor;
            do {
                const result = await page[what](cursor === undefined ? {} : { cursor });
                items.push(...result[lists[what]]);
                cursor = result.nextCursor;
            } while (cursor !== undefined);
            return items;
        },
        async call({ name, arguments: args, cancel_after: enough = 0 }) {
            const progress = [];
            const abort = new AbortController();
            const onprogress = ({ progress: done, total }) => {
                progress.push([done, total ?? null]);
                if (progress.length === enough) abort.abort('enough');
            };
            try {
                const result = await callTool({ name, arguments: args }, { onprogress, signal: abort.signal });
                return { ...result, progress };
            } catch (error) {
                if (!abort.signal.aborted) throw error;
                return { cancelled: true, progress };
            }
        },
        read: ({ uri }) => client.readResource({ uri }),
        prompt: ({ name, arguments: args }) => client.getPrompt({ name, arguments: args }),
        async complete({ ref, argument, context }) {
            const params = { ref, argument, ...(context ? { context: { arguments: context } } : {}) };
            return (await client.complete(params)).completion.values;
        },
        ping: () => client.ping(),
        listen,
        subscribe: ({ uri }) => subscribe(uri),
        unsubscribe: ({ uri }) => unsubscribe(uri),
        log_level: ({ level }) => logLevel(level),
        told: ({ method }) => told.waitFor(method),
    };
}

// `connect({url, token, mode, answers_as, told})` answers {seen, close} and what `verbs` is made of.
export function converse(connect) {
    const connections = new Map();

    async function take(name, verb, given) {
        if (verb === 'connect') {
            const told = new Notifications();
            const opened = await connect({ ...given, told });
            connections.set(name, { verbs: verbs({ ...opened, told }), close: opened.close });
            return opened.seen;
        }
        const connection = connections.get(name);
        if (verb === 'close') {
            connections.delete(name);
            return connection.close();
        }
        return connection.verbs[verb](given);
    }

    async function answer({ id, connection, do: verb, ...given }) {
        let outcome;
        try {
            outcome = { id, result: (await take(connection, verb, given)) ?? null };
        } catch (error) {
            outcome = { id, error: { kind: error.constructor.name, message: String(error.message), code: error.code ?? null } };
        }
        process.stdout.write(JSON.stringify(outcome) + '\n');
    }

    createInterface({ input: process.stdin })
        .on('line', line => void answer(JSON.parse(line)))
        .on('close', () => process.exit(0));
}
