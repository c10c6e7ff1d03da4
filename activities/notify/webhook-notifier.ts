// STUB-BY-LEAD
import type { Notifier } from './notifier.js';
export function createWebhookNotifier(_: { name: string; url: string }): Notifier { return { async notify() {} }; }
