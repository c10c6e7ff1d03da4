/**
 * What Slipway takes of the official client: finding the cluster and logging in to it. The build replaces this module by
 * a bundle of just that (`tools/build/bundle-kube-config.ts`): the client's whole index loads 800 models that nothing
 * here uses, which costs each worker half a second at its start and 47 MiB.
 */
export { HttpMethod, KubeConfig, RequestContext } from '@kubernetes/client-node';
