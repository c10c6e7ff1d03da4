declare const brand: unique symbol;

/** A string or number that was checked once, at its edge, and must not be confused with another of its kind. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Any value that survives JSON unchanged. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };
