/** Name under which container runtimes start this binary as a CNI plugin. */
export const CNI_NAME = "apollo-cni";
