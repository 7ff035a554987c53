// What the kernel and the page say to each other, for the type checker. Nothing of it runs.

/**
 * @typedef {{id: string, part?: string, html: string}} Output
 * @typedef {{label: string, tokens?: number|null}} Label
 * @typedef {{html?: string, text: string, chips?: Label[], images?: string[]}} Prompt
 * @typedef {{id: string, turn: number|null, at?: string, prompt: Prompt, outputs: Output[],
 *   state: string, hidden?: boolean, pinned?: boolean, code?: string[], ask?: string,
 *   markdown?: string}} Turn
 * @typedef {{title: string, subject: string, kind: string, risk: string, warning: string,
 *   editable: string|null, argument: string|null, lasting: boolean}} Question
 * @typedef {{id: string, label: string, tokens?: number|null, kind?: string,
 *   problem?: string}} Chip
 * @typedef {{name: string, words?: string, help?: string}} Command
 * @typedef {{id: string, text: string, since?: number}} Waiting
 * @typedef {{session?: {name?: string, id?: string, branch?: string}, sessions?: string[],
 *   branches?: string[], model?: string, models?: string[], effort?: string, efforts?: string[],
 *   data?: string, levels?: string[], approve?: string, policies?: string[], kernel?: string,
 *   state?: string, context?: {tokens?: number|null, window?: number|null}|null,
 *   spent?: string|null, budget?: string|null, queue?: Waiting[], kept?: string|null,
 *   commands?: Command[]}} Head
 * @typedef {{text: string, label?: string, kind?: string}} Item
 * @typedef {{id: string, start: number, end: number, items: Item[]}} Completions
 * @typedef {{session: string, turn: number|null, html: string}} Hit
 * @typedef {{key: number, level: string, text: string}} Notice
 * @typedef {{key: number, after: string|null, title: string, html: string}} Aside
 * @typedef {{get(name: string): any, on(name: string, heard: (...args: any[]) => void): void,
 *   send(content: object, callbacks?: any, buffers?: ArrayBuffer[]): void}} Model
 */


export {};
