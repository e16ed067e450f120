// What the TypeScript programs answer to a server's requests; ../answers.py says why it is this.

const rooted = name => ({ roots: [{ uri: `file:///roots/${name}`, name }] });

function elicited(name, params) {
    if (params.mode === 'url') return { action: params.url.endsWith('decline') ? 'decline' : 'accept' };
    return { action: 'accept', content: { name, check: true, integer: 7 } };
}

function sampled(name, params) {
    const [block] = [params.messages.at(-1).content].flat();
    const content = { type: 'text', text: `${name} heard: ${block.text}` };
    return { role: 'assistant', content, model: name, stopReason: 'endTurn' };
}

// What a client declares that can answer; one without a name to answer by declares nothing.
export const capabilities = name => (name ? { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} } : {});

// `on` sets the handler of a method's requests.
export function answer(name, on) {
    if (!name) return;
    on('sampling/createMessage', ({ params }) => sampled(name, params));
    on('elicitation/create', ({ params }) => elicited(name, params));
    on('roots/list', () => rooted(name));
}
